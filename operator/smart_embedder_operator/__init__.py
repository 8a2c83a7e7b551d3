"""The operator: one `Embedder` becomes a running, scaling, honest service."""
