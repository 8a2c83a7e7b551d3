"""From what the process was told to what the engine can be told.

It owns how several services' variables for one thing come together: which model a name means,
which length belongs to which family, which of several batch limits holds.
"""

from collections.abc import Mapping

from smart_embedder.models.names import full_name
from smart_embedder.options import EngineOptions, ModelOptions, SchedulingOptions
from smart_embedder.settings import NO_MODEL, Settings

_EMBEDDINGS = {"bge": "bge-m3", "qwen": "qwen3-embedding-0.6b"}
_RERANKERS = {"bge": "bge-reranker-v2-m3", "qwen": "qwen3-reranker-0.6b"}
"""What the settings take for a model of each kind beside the short ids."""


def engine_options(settings: Settings) -> EngineOptions:
    """Tell the engine what the settings say."""
    embedding, dense, reranker, *more = _names(settings)
    return EngineOptions(
        embedding=_embedding(settings, embedding, settings.revision),
        dense=_embedding(settings, dense, settings.dense_revision),
        reranker=_reranker(settings, reranker),
        more=tuple(
            model for name in more if (model := _embedding(settings, name, None)) is not None
        ),
        aliases=_aliases(settings),
        device=",".join(settings.multi_gpu_devices)
        if settings.multi_gpu_devices and settings.model_device == "auto"
        else settings.model_device,
        max_devices=settings.max_concurrent,
        threads=settings.torch_threads,
        tokenizer_workers=settings.tokenization_workers or settings.max_concurrent,
        warmup_rounds=settings.warmup_steps if settings.enable_warmup else 0,
        warmup_texts=settings.warmup_batch_size,
        offline=settings.hf_hub_offline,
        hub_endpoint=settings.hf_endpoint,
        scheduling=_scheduling(settings),
    )


def _names(settings: Settings) -> list[str | None]:
    """Name the embedding model, the dense one, the reranker and the others, in this order."""
    told = settings.model_fields_set
    listed = [_full(name) for name in settings.models]
    embedding = _full(settings.embedding_model)
    if "embedding_model" not in told:
        embedding = _full(settings.model_id) or (listed[0] if listed else None) or embedding
    reranker = _full(settings.reranker_model, _RERANKERS)
    if "reranker_model" not in told:
        reranker = _full(settings.model_name, _RERANKERS) or reranker
    dense = _full(settings.dense_embedding_model)
    more = [name for name in listed if name not in (embedding, dense, reranker)]
    return [embedding, None if dense == embedding else dense, reranker, *more]


def _aliases(settings: Settings) -> dict[str, str]:
    """A model that MODELS calls by a short name is listed by that name too."""
    listed = {name: full for name in settings.models if (full := _full(name)) and full != name}
    return listed | settings.model_aliases


def _full(name: str | None, shorter: Mapping[str, str] = _EMBEDDINGS) -> str | None:
    if name is None or name.lower() == NO_MODEL:
        return None
    return full_name(shorter.get(name.lower(), name))


def _embedding(settings: Settings, name: str | None, revision: str | None) -> ModelOptions | None:
    if name is None:
        return None
    return ModelOptions(
        name=name,
        revision=revision,
        dtype=settings.dtype,
        pooling=settings.pooling,
        max_tokens=_embed_length(settings, name),
        engine=settings.inference_engine,
    )


def _embed_length(settings: Settings, name: str) -> int | None:
    """Take the family's length; any other model keeps its own unless a length was set for all."""
    if "qwen" in name.lower():
        return settings.qwen_embed_max_length
    if "bge-m3" in name.lower():
        return settings.bge_embed_max_length or settings.max_input_length
    return settings.max_input_length if "max_input_length" in settings.model_fields_set else None


def _reranker(settings: Settings, name: str | None) -> ModelOptions | None:
    if name is None:
        return None
    of_qwen = "qwen" in name.lower()
    length = settings.qwen_rerank_max_length if of_qwen else settings.bge_rerank_max_length
    # A padded batch of so many pairs takes the memory of so many times the longest.
    pairs = settings.qwen_rerank_batch_size if of_qwen else None
    return ModelOptions(
        name=name,
        revision=settings.reranker_revision,
        dtype=settings.dtype,
        max_tokens=length,
        engine=settings.inference_engine,
        max_batch_tokens=pairs * length if pairs else None,
    )


def _scheduling(settings: Settings) -> SchedulingOptions:
    admitted = settings.max_concurrent_requests
    return SchedulingOptions(
        max_queue_requests=settings.max_queue_size if admitted is None else admitted,
        max_rerank_requests=settings.rerank_max_queue,
        max_queue_tokens=settings.max_queue_tokens,
        max_batch_tokens=settings.max_batch_tokens,
        max_batch_texts=settings.max_batch_requests
        or settings.batch_size
        or settings.batch_window_max_size,
        batch_window_seconds=settings.batch_window_ms / 1000 if settings.enable_batching else 0,
        embed_timeout_seconds=settings.gpu_process_timeout,
        rerank_timeout_seconds=settings.rerank_gpu_timeout,
        cache_entries=settings.embedding_cache_size,
    )
