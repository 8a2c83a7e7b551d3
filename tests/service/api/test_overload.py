"""A full queue, as each dialect's clients are told of it."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio
MakeClient = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

TEXTS = {"query": "q", "texts": ["x"]}
DOCUMENTS = {"query": "q", "documents": ["x"]}


@pytest.mark.parametrize(
    ("path", "body", "status", "where"),
    [
        ("/embed", {"inputs": "a"}, 429, "error"),
        ("/embed_sparse", {"inputs": "a"}, 429, "error"),
        ("/embed_all", {"inputs": "a"}, 429, "error"),
        ("/", {"inputs": "a"}, 429, "error"),
        ("/v1/embed", {"texts": ["a"]}, 429, "message"),
        ("/v2/embed", {"texts": ["a"]}, 429, "message"),
        ("/pooling", {"input": "a"}, 429, "error"),
        ("/embedding", {"content": "a"}, 503, "error"),
        ("/embeddings", {"content": "a"}, 503, "error"),
    ],
)
async def test_an_embedding_is_refused_at_once(
    path: str,
    body: dict[str, object],
    status: int,
    where: str,
    make_client: MakeClient,
    fake_embedding: Any,
) -> None:
    fake_embedding.gate.clear()
    async with make_client(engine={"max_queue_requests": 1}) as client:
        first = asyncio.create_task(client.post("/embed", json={"inputs": "first"}))
        await asyncio.to_thread(fake_embedding.running.wait)
        refused = await client.post(path, json=body)
        fake_embedding.gate.set()
        assert (await first).status_code == 200
    assert refused.status_code == status
    assert refused.json()[where]
    assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/rerank", TEXTS, 429),
        ("/rerank", DOCUMENTS, 429),
        ("/v1/rerank", DOCUMENTS, 429),
        ("/v2/rerank", DOCUMENTS, 429),
        ("/score", {"queries": "q", "documents": "x"}, 429),
        ("/reranking", DOCUMENTS, 503),
        ("/reranking", TEXTS, 503),
    ],
)
async def test_a_ranking_is_refused_at_once(
    path: str,
    body: dict[str, object],
    status: int,
    make_client: MakeClient,
    fake_reranker: Any,
) -> None:
    fake_reranker.gate.clear()
    async with make_client(engine={"max_rerank_requests": 1}) as client:
        first = asyncio.create_task(client.post("/v2/rerank", json=DOCUMENTS | {"query": "first"}))
        await asyncio.to_thread(fake_reranker.running.wait)
        refused = await client.post(path, json=body)
        fake_reranker.gate.set()
        assert (await first).status_code == 200
    assert refused.status_code == status
    assert int(refused.headers["retry-after"]) >= 1
