"""Smart Embedder: dense, sparse and ColBERT embeddings and reranking as one async engine."""
