"""What happens to requests when a service is told to leave, alone and behind a balancer."""

import asyncio
import json
import random
import time
from collections import Counter

from bench.service_cases import Figures, openai
from bench.service_load import Connection, Outcome
from bench.service_process import Service, service

ADMITTED = 200
DELAY = 0.3


async def drain(rounds: int = 20) -> Figures:
    """200 requests admitted, SIGTERM, every one answered; later ones get 503; exit code 0."""
    outcomes: Counter[str] = Counter()
    longest = 0.0
    for number in range(rounds):
        # 9 ms a text: 200 of them keep the device busy well beyond the delay.
        async with service(token_seconds=0.3e-3, DRAIN_DELAY=str(DELAY)) as server:
            longest = max(longest, await _drain_once(server, random.Random(number), outcomes))
    return {
        "rounds": rounds,
        "admitted": rounds * ADMITTED,
        "answered_200": outcomes["200"],
        "reset_or_other": outcomes["other"],
        "late_503": outcomes["late 503"],
        "late_other": outcomes["late other"],
        "exit_0": outcomes["exit 0"],
        "longest_seconds": longest,
    }


async def _drain_once(server: Service, dice: random.Random, outcomes: Counter[str]) -> float:
    connections = [await Connection.open(server.port) for _ in range(ADMITTED)]
    spare = await Connection.open(server.port)
    sent = [asyncio.create_task(connection.send(openai(dice))) for connection in connections]
    await _until_admitted(server)
    server.terminate()
    started = time.monotonic()
    await asyncio.sleep(DELAY + 0.1)
    late = [await spare.send(openai(dice)), await _on_a_new_connection(server, openai(dice))]
    for outcome in await asyncio.gather(*sent):
        outcomes["200" if outcome.status == 200 else "other"] += 1
    for outcome in late:
        outcomes["late 503" if outcome.status == 503 else "late other"] += 1
    outcomes["exit 0"] += await server.ended() == 0
    return time.monotonic() - started


async def _until_admitted(server: Service) -> None:
    """Wait until all requests have come in."""
    while True:
        if json.loads((await server.get("/stats")).body)["total_requests"] >= ADMITTED:
            return
        await asyncio.sleep(0.01)


async def _on_a_new_connection(server: Service, raw: bytes) -> Outcome:
    connection = await Connection.open(server.port)
    outcome = await connection.send(raw)
    connection.close()
    return outcome
