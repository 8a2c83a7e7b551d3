module smart-embedder/e2e/pause

go 1.24
