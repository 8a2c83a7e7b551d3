"""What is measured of the service, one function each; all give figures by name."""

import asyncio
import itertools
import json
import random
import resource
import statistics
import time
from collections.abc import Iterator, Sequence

import numpy as np

from bench.service_load import Connection, Tally, closed_loop, open_loop, request, words
from bench.service_process import Service, service

Figures = dict[str, float | int | str]

TEXTS_A_REQUEST = 16
TWO_CLIENTS = {"API_TOKEN": "query", "API_KEY": "bulk", "MAX_QUEUE_TOKENS": "1000000"}
TURNS = 3
"""Of capacity and overload: what else the machine does moves the share of one turn by a tenth."""
FLOPS_PER_TOKEN = 604e6
"""Of BGE-M3's weights (24 layers of 1,024 and 4,096), without attention scores: a lower bound."""


def openai(dice: random.Random, texts: int = 1, *, token: str = "") -> bytes:
    """One request for base64 vectors of texts that are new."""
    body = {"input": [words(dice) for _ in range(texts)], "encoding_format": "base64"}
    return request("/v1/embeddings", body, token=token)


async def throughput(seconds: float) -> Figures:
    """Texts a second and CPU time a text when the model costs nothing."""
    dice = random.Random(1)
    prepared = [openai(dice, TEXTS_A_REQUEST) for _ in range(2000)]
    async with service() as server:
        endless = itertools.cycle(prepared)
        await closed_loop(server.port, endless, connections=8, seconds=2)
        before, loop, own = server.cpu_seconds, server.loop_cpu_seconds, _own_cpu()
        tally = await closed_loop(server.port, endless, connections=8, seconds=seconds)
        spent, own = server.cpu_seconds - before, _own_cpu() - own
        loop = server.loop_cpu_seconds - loop
    texts = tally.statuses[200] * TEXTS_A_REQUEST
    gemm = _gemm_flops()
    model_seconds = 30 * FLOPS_PER_TOKEN / gemm
    return {
        "texts_per_second": texts / tally.wall,
        "server_cpu_seconds_per_1000_texts": spent / texts * 1000,
        "loop_cpu_seconds_per_1000_texts": loop / texts * 1000,
        "load_cpu_seconds_per_1000_texts": own / texts * 1000,
        # What CPU time alone allows: the loop is one thread, everything together two cores.
        "texts_per_second_by_cpu_time": texts / max(loop, (spent + own) / 2),
        "refused": sum(tally.statuses.values()) - tally.statuses[200],
        "gemm_gflops": gemm / 1e9,
        "full_shape_ms_per_text_at_gemm_rate": model_seconds * 1000,
        "overhead_share_of_model_time": spent / texts / model_seconds,
    }


async def latency(seconds: float, *, pass_seconds: float) -> Figures:
    """p99 over p50 of single texts at concurrency 8, on a device that takes so long a pass."""
    dice = random.Random(2)
    prepared = itertools.cycle([openai(dice) for _ in range(2000)])
    async with service(pass_seconds=pass_seconds, token_seconds=20e-6) as server:
        await closed_loop(server.port, prepared, connections=8, seconds=1)
        tally = await closed_loop(server.port, prepared, connections=8, seconds=seconds)
    p50, p99 = tally.percentile(0.5), tally.percentile(0.99)
    return {
        "requests": tally.statuses[200],
        "p50_ms": p50 * 1000,
        "p99_ms": p99 * 1000,
        "p99_over_p50": p99 / p50,
    }


async def overload(seconds: float, *, text_seconds: float) -> Figures:
    """Goodput and the speed of refusals at ten times the capacity."""
    async with service(token_seconds=text_seconds / 30) as server:
        dice = random.Random(3)
        return await overload_of(server, [openai(dice) for _ in range(4000)], seconds=seconds)


async def overload_of(server: Service, prepared: Sequence[bytes], *, seconds: float) -> Figures:
    """Find what a service can do, then ask ten times as much of it, in turns."""
    dice, endless = random.Random(4), itertools.cycle(prepared)
    await closed_loop(server.port, endless, connections=32, seconds=1)
    turns, loads = [], Tally()
    for _ in range(TURNS):
        full = await closed_loop(server.port, endless, connections=32, seconds=seconds)
        capacity = full.statuses[200] / full.wall
        over = await open_loop(
            server.port, prepared, rate=10 * capacity, seconds=seconds, dice=dice
        )
        # Answered during the load and after it, over the whole time until the last one.
        turns.append((capacity, over.statuses[200] / over.wall))
        loads.join(over)
    capacity, goodput = (statistics.median(column) for column in zip(*turns, strict=True))
    return {
        "capacity_per_second": capacity,
        "offered_per_second": sum(loads.statuses.values()) / seconds / TURNS,
        "goodput_per_second": goodput,
        "goodput_share_of_capacity": statistics.median(good / most for most, good in turns),
        "goodput_shares": " ".join(f"{good / most:.3f}" for most, good in turns),
        "refused": loads.statuses[429],
        "refusal_p50_ms": loads.percentile(0.5, 429) * 1000,
        "refusal_p99_ms": loads.percentile(0.99, 429) * 1000,
        "others": sum(loads.statuses.values()) - loads.statuses[200] - loads.statuses[429],
    }


async def fairness() -> Figures:
    """One client's queries beside another's 10,000 texts; passes of 2,048 tokens take 41 ms."""
    batch_tokens, token_seconds = 2048, 20e-6
    async with service(
        token_seconds=token_seconds, batch_tokens=batch_tokens, **TWO_CLIENTS
    ) as server:
        figures = await fairness_of(server)
    rise = float(figures["beside_p50_ms"]) - float(figures["alone_p50_ms"])
    return figures | {"rise_in_nominal_batches": rise / (batch_tokens * token_seconds * 1000)}


async def fairness_of(server: Service) -> Figures:
    """Single queries, alone and beside another client's 10,000 texts.

    Who asks again as soon as the answer is there always meets a batch that has just begun.
    """
    dice = random.Random(4)
    bulk = [openai(dice, 1000, token="bulk") for _ in range(13)]
    alone = await _queries(server, dice, until=None)
    batch = await _batch_seconds(server, bulk[:3])
    loads = [asyncio.create_task(_once(server, raw)) for raw in bulk[3:]]
    await asyncio.sleep(0.3)
    done = asyncio.gather(*loads)
    beside = await _queries(server, dice, until=done)
    answered = sum(status == 200 for status in await done)
    rise = beside.percentile(0.5) - alone.percentile(0.5)
    return {
        "bulk_texts_answered": answered * 1000,
        "queries_beside": beside.statuses[200],
        "alone_p50_ms": alone.percentile(0.5) * 1000,
        "beside_p50_ms": beside.percentile(0.5) * 1000,
        "beside_p99_ms": beside.percentile(0.99) * 1000,
        "one_batch_ms": batch * 1000,
        "rise_in_batches": rise / batch,
    }


async def memory(requests: int = 50_000, settled: int = 5_000) -> Figures:
    """Resident memory over many requests of every kind, refused and broken ones among them."""
    mixed = mixture(random.Random(5))
    async with service() as server:
        first = await _many(server, itertools.islice(mixed, settled))
        after_first = server.resident_bytes
        rest = await _many(server, itertools.islice(mixed, requests - settled))
        at_end = server.resident_bytes
    statuses = first.statuses + rest.statuses
    return {
        "requests": sum(statuses.values()),
        "rss_mib_after_first": after_first / 2**20,
        "rss_mib_at_end": at_end / 2**20,
        "growth": at_end / after_first - 1,
        "statuses": json.dumps(dict(sorted(statuses.items()))),
    }


def mixture(dice: random.Random) -> Iterator[bytes]:
    """Requests of every dialect and kind without end, some of them wrong."""
    while True:
        texts = [words(dice, dice.choice((3, 28, 120))) for _ in range(dice.choice((1, 2, 8)))]
        yield request("/v1/embeddings", {"input": texts, "encoding_format": "base64"})
        yield request("/embeddings/", {"sentences": texts[:2], "return_sparse": True})
        yield request("/embeddings/", {"sentences": texts[:1], "return_colbert": True})
        yield request("/rerank", {"query": "river", "passages": texts})
        yield request("/v2/rerank", {"query": "river", "documents": texts, "top_n": 2})
        yield request("/embed", {"inputs": texts})
        yield request("/embed_sparse", {"inputs": texts})
        yield request("/api/v1/embed", {"inputs": texts[0]})
        yield request("/embed", {"inputs": []})
        yield request("/v1/embeddings", b'{"input": ')
        yield request("/v1/embeddings", {"input": texts, "model": "no/such"})
        yield request("/nowhere", {})
        yield request("/health", b"", method="GET")


async def _many(server: Service, requests: Iterator[bytes]) -> Tally:
    return await closed_loop(server.port, requests, connections=8, seconds=600)


async def _once(server: Service, raw: bytes) -> int:
    connection = await Connection.open(server.port)
    outcome = await connection.send(raw)
    connection.close()
    return outcome.status


async def _queries(
    server: Service, dice: random.Random, until: "asyncio.Future[list[int]] | None"
) -> Tally:
    """Send one query after another: a hundred of them, or until something else is done."""
    tally = Tally()
    connection = await Connection.open(server.port)
    while not (until.done() if until else tally.statuses[200] >= 100):
        tally.add(await connection.send(openai(dice, token="query")))
    connection.close()
    return tally


async def _batch_seconds(server: Service, bulk: Sequence[bytes]) -> float:
    """What one batch takes from cut to cut when nothing but bulk is there."""
    before, started = await _batches(server), time.perf_counter()
    await asyncio.gather(*(_once(server, raw) for raw in bulk))
    return (time.perf_counter() - started) / (await _batches(server) - before)


async def _batches(server: Service) -> int:
    return int(json.loads((await server.get("/stats")).body)["total_batches"])


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _gemm_flops(seconds: float = 1.0) -> float:
    """Measure this machine's float32 rate on the shape of BGE-M3's inner layer."""
    left, right = np.ones((480, 1024), np.float32), np.ones((1024, 4096), np.float32)
    left @ right
    count, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        left @ right
        count += 1
    return count * 2 * 480 * 1024 * 4096 / spent
