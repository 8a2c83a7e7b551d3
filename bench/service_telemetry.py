"""What watching costs: CPU time of the same requests without it, with it, and traced.

One process serves all three (`bench.service_switch`) and is switched between short stretches of the
same requests, so that a figure is a ratio of CPU seconds within some tenths of a second: the median
of many such ratios hardly knows what else the machine does.
"""

import asyncio
import random
import statistics

from bench.service_cases import TEXTS_A_REQUEST, Figures, openai
from bench.service_load import Connection, closed_loop, request
from bench.service_process import Service, service
from bench.service_switch import SWITCH

KINDS = ("bare", "watched", "traced")
TRACED = {
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.1",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
}


async def telemetry() -> Figures:
    """What watching adds to a text of the null model, where nothing hides it, and of a demo one."""
    null = await _measured(rounds=60, requests=350)
    demo = await _measured(rounds=40, requests=40, model="demo/bge-m3")
    figures: Figures = {}
    for name, spent in {"null": null, "demo": demo}.items():
        figures |= {
            f"{name}_bare_cpu_seconds_per_1000_texts": statistics.median(spent["bare"]),
            **_added(f"{name}_metrics_and_logs", spent["watched"], spent["bare"]),
            **_added(f"{name}_traces_too", spent["traced"], spent["bare"]),
        }
    return figures


async def _measured(*, rounds: int, requests: int, model: str = "") -> dict[str, list[float]]:
    """CPU seconds for 1,000 texts, stretch by stretch; each round has one of every kind."""
    dice = random.Random(5)
    prepared = [openai(dice, TEXTS_A_REQUEST) for _ in range(requests)]
    spent: dict[str, list[float]] = {kind: [] for kind in KINDS}
    async with (
        _Receiver() as receiver,
        service(
            switched=True,
            model=model,
            LOG_LEVEL="INFO",
            EMBEDDING_CACHE_SIZE="0",  # the same texts come again
            OTLP_ENDPOINT=receiver,
            **TRACED,
        ) as server,
    ):
        for number in range(-2, rounds):  # two to warm up
            for kind in random.Random(number).sample(KINDS, len(KINDS)):
                seconds = await _stretch(server, kind, prepared)
                if number >= 0:
                    spent[kind].append(seconds / (requests * TEXTS_A_REQUEST) * 1000)
    return spent


async def _stretch(server: Service, kind: str, prepared: list[bytes]) -> float:
    """CPU seconds of the server for these requests, watched in this way."""
    before = await _switch(server, kind)
    await closed_loop(server.port, iter(prepared), connections=8, seconds=60)
    return await _switch(server, kind) - before


async def _switch(server: Service, kind: str) -> float:
    connection = await Connection.open(server.port, keep_body=True)
    outcome = await connection.send(request(SWITCH + kind, b""))
    connection.close()
    return int(outcome.body) / 1e9


def _added(name: str, with_it: list[float], without: list[float]) -> Figures:
    """The median of the rounds' ratios, and its quartiles."""
    ratios = [a / b - 1 for a, b in zip(with_it, without, strict=True)]
    lower, middle, upper = statistics.quantiles(ratios, n=4)
    return {
        f"{name}_share": middle,
        f"{name}_share_quartiles": f"{lower:.3f} {upper:.3f}",
        f"{name}_microseconds_a_text": middle * statistics.median(without) * 1000,
    }


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
