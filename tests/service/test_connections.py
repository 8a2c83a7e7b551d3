"""Which connections are kept."""

import asyncio
from typing import Any

import pytest

from smart_embedder.connections import Connection, Retirement
from smart_embedder.lifecycle import Lifecycle
from smart_embedder.results import State

pytestmark = pytest.mark.anyio


async def answered(
    lifecycle: Lifecycle,
    connection: Connection | None,
    *,
    app_wait: asyncio.Event | None = None,
    max_age: float = 60,
    max_requests: int = 0,
) -> bool:
    """Answer one request over this connection; say whether the connection ends."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        if app_wait:
            await app_wait.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "state": {"connection": connection} if connection else {}}
    retirement = Retirement(
        app, lifecycle, max_age=max_age, max_requests=max_requests, max_connections=10
    )
    await retirement(scope, None, send)  # type: ignore[arg-type] # nothing is received
    return (b"connection", b"close") in sent[0]["headers"]


def aged(seconds: float, *, spread: float = 1, crowd: int = 1, requests: int = 1) -> Connection:
    return Connection(asyncio.get_running_loop().time() - seconds, spread, crowd, requests)


async def test_a_connection_ends_when_it_is_old_each_at_an_age_of_its_own() -> None:
    lifecycle = Lifecycle()
    assert not await answered(lifecycle, aged(50))
    assert await answered(lifecycle, aged(61))
    assert await answered(lifecycle, aged(50, spread=0.8))
    assert not await answered(lifecycle, aged(61, spread=1.2))


async def test_an_age_of_zero_keeps_every_connection() -> None:
    assert not await answered(Lifecycle(), aged(1e6), max_age=0)


async def test_a_connection_ends_after_its_share_of_requests_each_after_a_number_of_its_own() -> (
    None
):
    lifecycle = Lifecycle()
    assert not await answered(lifecycle, aged(0, requests=7), max_requests=8)
    assert await answered(lifecycle, aged(0, requests=8), max_requests=8)
    assert await answered(lifecycle, aged(0, requests=7, spread=0.8), max_requests=8)
    assert not await answered(lifecycle, aged(0, requests=8, spread=1.2), max_requests=8)


async def test_without_a_number_every_request_is_taken() -> None:
    assert not await answered(Lifecycle(), aged(0, requests=10_000), max_requests=0)


async def test_in_a_crowd_no_connection_is_kept() -> None:
    lifecycle = Lifecycle()
    assert not await answered(lifecycle, aged(0, crowd=10))
    assert await answered(lifecycle, aged(0, crowd=11))


async def test_a_leaving_process_keeps_none_not_even_one_asked_before() -> None:
    lifecycle, answer = Lifecycle(), asyncio.Event()
    lifecycle.become(State.READY)
    asked = asyncio.create_task(answered(lifecycle, aged(0), app_wait=answer))
    await asyncio.sleep(0)
    lifecycle.become(State.DRAINING)
    answer.set()
    assert await asked


async def test_without_a_socket_nothing_ends() -> None:
    assert not await answered(Lifecycle(), None)
