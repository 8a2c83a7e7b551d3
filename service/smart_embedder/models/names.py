"""The short names of models on the hub. Imports nothing: settings are read without torch."""

SHORT_IDS = {
    "bge-m3": "BAAI/bge-m3",
    "bge-reranker-v2-m3": "BAAI/bge-reranker-v2-m3",
    "bge-reranker-base": "BAAI/bge-reranker-base",
    "bge-reranker-large": "BAAI/bge-reranker-large",
    "bge-large-en-v1.5": "BAAI/bge-large-en-v1.5",
    "all-minilm-l6-v2": "sentence-transformers/all-MiniLM-L6-v2",
    "embedding-gemma-300m": "google/embeddinggemma-300m",
    **{
        f"qwen3-{kind}-{size}".lower(): f"Qwen/Qwen3-{kind}-{size}"
        for kind in ("Embedding", "Reranker")
        for size in ("0.6B", "4B", "8B")
    },
}


def full_name(name: str) -> str:
    """Return the hub id that a short id stands for; any other name stays."""
    return SHORT_IDS.get(name.lower(), name)
