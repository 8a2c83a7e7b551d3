"""Compressed answers."""

import gzip
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import zstandard

pytestmark = pytest.mark.anyio
MakeClient = Callable[..., Any]
ASK = {"sentences": ["a"] * 20, "return_colbert": True}


async def ask(client: httpx.AsyncClient, accepted: str) -> tuple[str | None, bytes]:
    request = client.build_request(
        "POST", "/embeddings", json=ASK, headers={"accept-encoding": accepted}
    )
    answer = await client.send(request, stream=True)
    return answer.headers.get("content-encoding"), b"".join([c async for c in answer.aiter_raw()])


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0, gzip;q=0.5", "gzip"),
        ("identity", None),
        ("", None),
    ],
)
async def test_an_answer_shrinks_when_operator_and_client_want_it(
    make_client: MakeClient, accepted: str, coding: str | None
) -> None:
    async with make_client(compress_responses=True) as client:
        found, body = await ask(client, accepted)

    assert found == coding
    undone = {
        "gzip": gzip.decompress,
        "zstd": zstandard.ZstdDecompressor().decompress,
        None: bytes,
    }[found](body)
    assert undone.startswith(b'{"data":')


async def test_an_answer_is_plain_unless_the_operator_wants_otherwise(
    client: httpx.AsyncClient,
) -> None:
    found, _ = await ask(client, "gzip, zstd")
    assert found is None


async def test_a_small_answer_is_not_worth_it(make_client: MakeClient) -> None:
    async with make_client(compress_responses=True) as client:
        answer = await client.get("/health/live", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert answer.headers["vary"] == "accept-encoding"
