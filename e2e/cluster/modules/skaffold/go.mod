module smart-embedder/e2e/skaffold

go 1.26.8
