"""Two instances behind a balancer, one of them told to leave: nobody notices."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Protocol

import httpx
import pytest

pytestmark = pytest.mark.anyio

INTERVAL = 0.1
SECONDS = 6.0
LEAVING_AT = 1.0
DELAY = "3"
"""Seconds of DRAIN_DELAY: many looks of the balancer, many requests on each old connection."""
OLD_CLIENTS = 6
ONE_CONNECTION = httpx.Limits(max_connections=1)


class Live(Protocol):
    """What the fixture gives."""

    url: str
    port: int

    def stop(self) -> int:
        """Ask it to end."""
        ...


class Balancer:
    """Hands each new connection to the next instance that says it is ready, as a Service does.

    It knows nothing of HTTP: a connection stays where it is until one side closes it.
    """

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._ready = list(ports)
        self._turn = itertools.count()
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Balance while inside."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            server.close()
            looking.cancel()
            for writer in self._open.values():
                writer.close()
            await asyncio.gather(looking, *self._open, return_exceptions=True)

    async def _look(self) -> None:
        async with httpx.AsyncClient() as client:
            while True:
                self._ready = [port for port in self._ports if await self._is_ready(client, port)]
                await asyncio.sleep(0.1)

    async def _is_ready(self, client: httpx.AsyncClient, port: int) -> bool:
        with suppress(httpx.TransportError):
            return (await client.get(f"http://127.0.0.1:{port}/health/ready")).status_code == 200
        return False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = self._ready[next(self._turn) % len(self._ready)]
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
        task = asyncio.current_task()
        assert task
        self._open[task] = writer
        await asyncio.gather(pipe(reader, back_writer), pipe(back_reader, writer))
        del self._open[task]


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until one side has no more."""
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_every_request_is_answered_while_one_of_two_instances_leaves(
    start_live: Callable[..., list[Live]],
) -> None:
    first, second = start_live(2, DRAIN_DELAY=DELAY)
    balancer = Balancer([first.port, second.port])
    seen: Counter[int | str] = Counter()
    sent = 0

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        try:
            answer = await client.post("/v1/embeddings", json={"input": f"text {number}"})
            seen[answer.status_code] += 1
        except httpx.TransportError as error:
            seen[repr(error)] += 1

    async def ask_on_a_new_connection(number: int) -> None:
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            await ask(client, number)

    async with balancer.running(), AsyncExitStack() as stack:
        address = f"http://127.0.0.1:{balancer.port}"
        old = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=address, limits=ONE_CONNECTION, timeout=30)
            )
            for _ in range(OLD_CLIENTS)
        ]
        leaving = None
        async with asyncio.TaskGroup() as group:
            for tick in range(int(SECONDS / INTERVAL)):
                for client in old:
                    group.create_task(ask(client, sent := sent + 1))
                group.create_task(ask_on_a_new_connection(sent := sent + 1))
                if tick == LEAVING_AT / INTERVAL:
                    leaving = group.create_task(asyncio.to_thread(first.stop))
                await asyncio.sleep(INTERVAL)
    assert seen == {200: sent}
    assert leaving is not None
    assert leaving.result() == 0
