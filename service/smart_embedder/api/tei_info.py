"""`/info`: what is served, in the words of text-embeddings-inference.

Beside what its clients read it names every served model, with the facts its vectors depend on and
the fingerprint made of them.
"""

import importlib.metadata

import msgspec

from smart_embedder.api.call import Call
from smart_embedder.api.dialect import Endpoint
from smart_embedder.api.tei import LABEL, TEI
from smart_embedder.models.model import Card


class InfoModel(msgspec.Struct):
    """One served model."""

    name: str
    family: str
    revision: str
    dtype: str
    recipe: int | None
    """How int8 rounds; null for the other dtypes, which round as their names say."""
    engine: str
    pooling: str
    max_tokens: int
    dimensions: int
    outputs: list[str]
    fingerprint: str
    prompts: dict[str, str]
    """What the model was trained to see before a text, by the name of the use."""


class Info(msgspec.Struct):
    """The default model in the first fields, the limits, then every model."""

    model_id: str
    model_sha: str
    model_dtype: str
    model_type: dict[str, dict[str, str | dict[str, str]]]
    max_input_length: int
    max_concurrent_requests: int
    max_batch_tokens: int | None
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int | None
    version: str
    models: list[InfoModel]


async def info(_: None, call: Call) -> Info:
    """Answer GET /info."""
    settings, models = call.settings, call.engine.models
    first = models[0]
    return Info(
        model_id=first.name,
        model_sha=first.revision,
        model_dtype=first.dtype,
        model_type=_kind(first),
        max_input_length=first.max_tokens,
        max_concurrent_requests=settings.max_concurrent_requests or settings.max_queue_size,
        max_batch_tokens=settings.max_batch_tokens,
        max_batch_requests=settings.max_batch_requests,
        max_client_batch_size=settings.max_client_batch_size,
        auto_truncate=True,
        tokenization_workers=settings.tokenization_workers,
        version=importlib.metadata.version("smart-embedder"),
        models=[_model(card) for card in models],
    )


def _kind(card: Card) -> dict[str, dict[str, str | dict[str, str]]]:
    if card.dimensions:
        return {"embedding": {"pooling": card.pooling}}
    return {"reranker": {"id2label": {"0": LABEL}, "label2id": {LABEL: "0"}}}


def _model(card: Card) -> InfoModel:
    return InfoModel(
        name=card.name,
        family=card.family,
        revision=card.revision,
        dtype=card.dtype,
        recipe=card.recipe,
        engine=card.engine,
        pooling=card.pooling,
        max_tokens=card.max_tokens,
        dimensions=card.dimensions,
        outputs=[str(output.name).lower() for output in card.outputs],
        fingerprint=card.fingerprint,
        prompts=dict(card.prompts),
    )


ENDPOINTS = (
    Endpoint(
        dialect=TEI,
        paths=("/info",),
        handle=info,
        kind=None,
        answer=Info,
        summary="Describe what is served",
    ),
)
