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
    """CPU seconds for 1,000 texts, bare, with metrics and logs, and with a tenth traced."""
    dice = random.Random(5)
    requests = itertools.cycle([openai(dice, TEXTS_A_REQUEST) for _ in range(2000)])
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(_Receiver())
        kinds: dict[str, Service] = {
            "bare": await stack.enter_async_context(service(bare=True)),
            "watched": await stack.enter_async_context(service(LOG_LEVEL="INFO")),
            "traced": await stack.enter_async_context(
                service(LOG_LEVEL="INFO", OTLP_ENDPOINT=receiver, **TRACED)
            ),
        }
        spent: dict[str, list[float]] = {kind: [] for kind in kinds}
        for server in kinds.values():
            await closed_loop(server.port, requests, connections=8, seconds=1)
        for _ in range(ROUNDS):
            for kind, server in kinds.items():
                before = server.cpu_seconds
                tally = await closed_loop(
                    server.port, requests, connections=8, seconds=ROUND_SECONDS
                )
                texts = tally.statuses[200] * TEXTS_A_REQUEST
                spent[kind].append((server.cpu_seconds - before) / texts * 1000)
    return {
        **{f"{kind}_cpu_seconds_per_1000_texts": statistics.median(spent[kind]) for kind in spent},
        "metrics_and_logs_share": _share(spent["watched"], spent["bare"]),
        "traces_share": _share(spent["traced"], spent["bare"]),
    }


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
