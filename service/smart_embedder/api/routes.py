"""THE tables of what is served. A new dialect is one line in `DIALECTS`."""

from collections.abc import Callable, Sequence
from typing import Any

from smart_embedder.api import (
    cohere_embed,
    embed_v1,
    llamacpp,
    native,
    openai,
    rerank,
    tei,
    tei_info,
    vllm,
)
from smart_embedder.api.dialect import Endpoint
from smart_embedder.api.dispatch import Path, paths
from smart_embedder.api.native import NATIVE
from smart_embedder.api.openapi import document
from smart_embedder.api.operations import (
    VERSION,
    Health,
    Liveness,
    Operations,
    Readiness,
    Startup,
    Stats,
)
from smart_embedder.api.pages import Pages

DIALECTS: tuple[Endpoint, ...] = (
    *native.ENDPOINTS,
    *embed_v1.ENDPOINTS,
    *openai.ENDPOINTS,
    *rerank.ENDPOINTS,
    *cohere_embed.ENDPOINTS,
    *tei.ENDPOINTS,
    *tei_info.ENDPOINTS,
    *vllm.ENDPOINTS,
    *llamacpp.ENDPOINTS,
)


def routes(operations: Operations, *, with_metrics: bool, secured: bool) -> list[Path]:
    """Gather every path of the service, its own description among them."""
    described = paths([*DIALECTS, *_operations(operations, with_metrics=with_metrics)])
    pages = Pages(lambda: document(described, version=VERSION, secured=secured))
    return [*described, *paths(_pages(pages))]


def _operations(operations: Operations, *, with_metrics: bool) -> Sequence[Endpoint]:
    found = [
        _public("/health", operations.health, Health, "What is served, and whether it is"),
        _public("/health/live", operations.live, Liveness, "Whether the workers are alive"),
        _public("/health/ready", operations.ready, Readiness, "Whether new work is taken"),
        _public("/health/startup", operations.startup, Startup, "How far the start is"),
        _public("/stats", operations.stats, Stats, "Counts since the start"),
    ]
    if with_metrics:
        found.append(_public("/metrics", operations.metrics, str, "Metrics", "text/plain"))
    return found


def _pages(pages: Pages) -> Sequence[Endpoint]:
    return [
        _public("/openapi.json", pages.openapi),
        _public("/docs", pages.swagger),
        _public("/redoc", pages.redoc),
        _public("/docs/assets/{name:str}", pages.asset),
    ]


def _public(
    path: str,
    handle: Callable[..., Any],
    answer: Any = None,
    summary: str = "",
    media_type: str = "application/json",
) -> Endpoint:
    return Endpoint(
        dialect=NATIVE,
        paths=(path,),
        handle=handle,
        kind=None,
        answer=answer,
        summary=summary,
        public=True,
        media_type=media_type,
    )
