"""Smart Embedder: dense, sparse and ColBERT embeddings and reranking as one async engine."""

from smart_embedder.engine import Engine
from smart_embedder.options import EngineOptions, ModelOptions, SchedulingOptions

__all__ = ["Engine", "EngineOptions", "ModelOptions", "SchedulingOptions"]
