"""1,000 pods' queues read by the operator: how long a round takes, and what it costs.

Run by `make bench-operator`. Every pod is an address of its own on the loopback, one process behind
all of them; each answers with what the service answers. Prints its lines of the table.
"""

import asyncio
import logging
import math
import multiprocessing
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

import aiohttp
import structlog

from smart_embedder_operator.metrics_api.exposition import METRICS
from smart_embedder_operator.metrics_api.pods import PodTable
from smart_embedder_operator.metrics_api.scrape import POD_SECONDS, Scraper

ADDRESSES = [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(1000)]
ROUNDS = 10
LOST = 100
"""Pods of a node that is gone: nothing answers, and nobody says so."""
MODEL = (
    'smart_embedder_model_info{role="dense",name="BAAI/bge-m3",family="bge-m3",revision="main",'
    'dtype="float32",engine="packed",fingerprint="0123456789abcdef"} 1.0'
)
PAGE = "\n".join(
    [line for name in METRICS for line in (f"# TYPE {name} gauge", f"{name} 3.0")] + [MODEL, ""]
).encode()
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
    b"Content-Length: %d\r\n\r\n" % len(PAGE)
) + PAGE


def figures() -> Iterator[tuple[str, str]]:
    """Measure, and name what was found."""
    quiet = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=quiet)
    with _listening() as port:
        for what, addresses in (
            (f"{len(ADDRESSES) - LOST} pods", ADDRESSES[:-LOST]),
            (f"{len(ADDRESSES)} pods, {LOST} of them silent", ADDRESSES),
        ):
            wall, cpu = asyncio.run(_rounds(_table(addresses, port)))
            yield f"queues of {what} (period 5 s)", f"{wall:.2f} s, {cpu:.2f} s of CPU"


class _Pod(asyncio.Protocol):
    """Answers whatever is asked; one of a lost node never does."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        address, _ = transport.get_extra_info("sockname")
        self._is_lost = address in ADDRESSES[-LOST:]

    def data_received(self, data: bytes) -> None:
        if not self._is_lost:
            self._transport.write(ANSWER * data.count(b"\r\n\r\n"))


def _serve(told: Connection) -> None:
    async def forever() -> None:
        loop = asyncio.get_running_loop()
        first = await loop.create_server(_Pod, ADDRESSES[0])
        port = first.sockets[0].getsockname()[1]
        async with first, await loop.create_server(_Pod, ADDRESSES[1:], port):
            told.send(port)
            await asyncio.Future()

    asyncio.run(forever())


@contextmanager
def _listening() -> Iterator[int]:
    """Have all pods listen, in a process of their own; give their port."""
    hears, tells = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(tells,))
    process.start()
    try:
        yield hears.recv()
    finally:
        process.terminate()
        process.join()


def _table(addresses: Sequence[str], port: int) -> PodTable:
    pods = PodTable()
    ports = [{"name": "metrics", "containerPort": port}]
    for number, address in enumerate(addresses):
        name = f"pod-{number}"
        pods.update(
            {
                "metadata": {"namespace": "default", "name": name, "uid": name},
                "spec": {"containers": [{"ports": ports}]},
                "status": {"podIP": address, "phase": "Running"},
            }
        )
    return pods


async def _rounds(pods: PodTable) -> tuple[float, float]:
    """Seconds of a round, and the CPU seconds of it; the medians, connections kept."""
    scraper = Scraper(pods, period=math.inf, on_news=lambda _: None)
    walls, cpus = list[float](), list[float]()
    timeout = aiohttp.ClientTimeout(total=POD_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        await scraper.round(session)
        for _ in range(ROUNDS):
            wall, cpu = time.perf_counter(), time.process_time()
            await scraper.round(session)
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)
