"""The service over real forward passes: the demo models, and BGE-M3 in full shape.

Random weights take the time of trained ones. What the null model's cases promise (`service_cases`)
is looked at again where the device is as slow as a device is.
"""

import itertools
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.service_cases import TWO_CLIENTS, Figures, fairness_of, openai, overload_of
from bench.service_load import closed_loop, request
from bench.service_process import Service, service

FULL_SHAPE = Path(tempfile.gettempdir()) / "smart-embedder-bench"
"""Where `bench.engine` keeps its weights too: 4.6 GB, written once."""


async def demo() -> Figures:
    """Single texts at concurrency 8 with the demo models."""
    async with service(model="demo/bge-m3") as server:
        dice = random.Random(6)
        return await _latency(server, [openai(dice) for _ in range(8000)], seconds=8)


async def demo_fairness() -> Figures:
    """One client's single queries beside another's 10,000 texts, with the demo models."""
    async with service(model="demo/bge-m3", **TWO_CLIENTS) as server:
        return await fairness_of(server)


async def full_shape() -> Figures:
    """The same with 24 layers of 1,024 on this machine's CPU, and ten times what that can do."""
    from bench import full_shape as weights  # noqa: PLC0415 - brings torch, which only this case needs

    embedder, _ = weights.write(FULL_SHAPE)
    async with service(model=str(embedder)) as server:
        # Its tokenizer knows only its own words: others would all be one text to the cache.
        prepared = [
            request("/v1/embeddings", {"input": text, "encoding_format": "base64"})
            for text in weights.texts([30] * 8000)
        ]
        figures = await _latency(server, prepared[:4000], seconds=20)
        return figures | await overload_of(server, prepared[4000:], seconds=20)


async def _latency(server: Service, prepared: Sequence[bytes], *, seconds: float) -> Figures:
    requests = itertools.cycle(prepared)
    await closed_loop(server.port, requests, connections=8, seconds=2)
    before = server.cpu_seconds
    tally = await closed_loop(server.port, requests, connections=8, seconds=seconds)
    p50, p99 = tally.percentile(0.5), tally.percentile(0.99)
    return {
        "texts_per_second": tally.statuses[200] / tally.wall,
        "server_cpu_seconds_per_1000_texts": (server.cpu_seconds - before)
        / tally.statuses[200]
        * 1000,
        "p50_ms": p50 * 1000,
        "p99_ms": p99 * 1000,
        "p99_over_p50": p99 / p50,
    }
