"""What watching costs: CPU time of the same requests without it, with it, and traced.

The three services run at the same time and are loaded in turns, so that the machine's moods meet
all of them; the figures are ratios of CPU seconds, which a busy neighbour hardly moves.
"""

import asyncio
import itertools
import random
import statistics
from contextlib import AsyncExitStack

from bench.service_cases import TEXTS_A_REQUEST, Figures, openai
from bench.service_load import closed_loop
from bench.service_process import Service, service

ROUNDS = 8
ROUND_SECONDS = 2.0
TRACED = {
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.1",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
}


async def telemetry() -> Figures:
    """What watching adds to a text: of nothing else at all, and of the smallest real model.

    It costs the same whatever the model, so it is measured where nothing hides it, over the null
    model, and compared with what a text costs there and with the demo models.
    """
    null = await _measured("bare", "watched", "traced")
    demo = await _measured("bare", model="demo/bge-m3")
    bare, watched, traced = (statistics.median(null[kind]) for kind in null)
    text = statistics.median(demo["bare"])
    return {
        "null_model_cpu_seconds_per_1000_texts": bare,
        "demo_model_cpu_seconds_per_1000_texts": text,
        "metrics_and_logs_cpu_seconds_per_1000_texts": watched - bare,
        "traces_too_cpu_seconds_per_1000_texts": traced - bare,
        "metrics_and_logs_share_of_null": _share(null["watched"], null["bare"]),
        "traces_too_share_of_null": _share(null["traced"], null["bare"]),
        "metrics_and_logs_share": (watched - bare) / text,
        "traces_too_share": (traced - bare) / text,
    }


async def _measured(*wanted: str, model: str = "") -> dict[str, list[float]]:
    """CPU seconds for 1,000 texts, round by round: bare, watched, or with a tenth traced."""
    dice = random.Random(5)
    requests = itertools.cycle([openai(dice, TEXTS_A_REQUEST) for _ in range(2000)])
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(_Receiver())
        settings = {
            "bare": {},
            "watched": {"LOG_LEVEL": "INFO"},
            "traced": {"LOG_LEVEL": "INFO", "OTLP_ENDPOINT": receiver, **TRACED},
        }
        servers: dict[str, Service] = {}
        for kind in wanted:
            started = service(bare=kind == "bare", model=model, **settings[kind])
            servers[kind] = await stack.enter_async_context(started)
            await closed_loop(servers[kind].port, requests, connections=8, seconds=1)
        spent: dict[str, list[float]] = {kind: [] for kind in servers}
        for _ in range(ROUNDS):
            for kind, server in servers.items():
                before = server.cpu_seconds
                tally = await closed_loop(
                    server.port, requests, connections=8, seconds=ROUND_SECONDS
                )
                texts = tally.statuses[200] * TEXTS_A_REQUEST
                spent[kind].append((server.cpu_seconds - before) / texts * 1000)
    return spent


def _share(with_it: list[float], without: list[float]) -> float:
    """Median of the rounds' ratios, each pair of one round."""
    return statistics.median(a / b for a, b in zip(with_it, without, strict=True)) - 1


class _Receiver:
    """Takes spans and throws them away: an endpoint that answers."""

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                [length] = [
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                ]
                await reader.readexactly(length)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()
