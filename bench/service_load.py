"""A load generator that leaves most of the machine to the server it measures.

Requests are bytes made beforehand, answers are counted and hardly looked at. Closed loops (each
connection waits for its answer) measure capacity; open loops (requests come when they come) measure
what happens beyond it.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

WORDS = [
    *(
        "search",
        "engine",
        "vector",
        "river",
        "mountain",
        "learning",
        "machine",
        "paper",
        "language",
    ),
    *("summer", "winter", "market", "history", "music", "garden", "doctor", "window", "number"),
    *(
        "question",
        "answer",
        "table",
        "letter",
        "country",
        "morning",
        "science",
        "animal",
        "weather",
    ),
]
TEXT_WORDS = 28
"""With the two special tokens: 30 tokens, one a word with this tokenizer."""


@dataclass(slots=True)
class Outcome:
    """One request's end; status 0 is a connection that broke."""

    status: int
    seconds: float
    body: bytes = b""


@dataclass(slots=True)
class Tally:
    """What a load saw."""

    wall: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: dict[int, list[float]] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one request."""
        self.statuses[outcome.status] += 1
        self.seconds.setdefault(outcome.status, []).append(outcome.seconds)

    def join(self, other: "Tally") -> None:
        """Count what another one saw, its time apart."""
        self.statuses += other.statuses
        for status, seconds in other.seconds.items():
            self.seconds.setdefault(status, []).extend(seconds)

    def percentile(self, share: float, status: int = 200) -> float:
        """Of the seconds of the requests that ended with this status."""
        ordered = sorted(self.seconds.get(status, []))
        return (
            ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")
        )


def words(dice: random.Random, count: int = TEXT_WORDS) -> str:
    """Make a text that no other request carries: a number of five words out of 27 is 14 million."""
    return " ".join(dice.choices(WORDS, k=count))


def request(path: str, body: object, *, token: str = "", method: str = "POST") -> bytes:
    """Write a request once; it may be sent many times."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"{authorization}Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self, *, keep_body: bool = False) -> None:
        self.closed = False
        self._keep_body = keep_body
        self._head = b""
        self._parts: list[bytes] = []
        self._missing = -1
        self._status = 0
        self._closing = False
        self._answer: asyncio.Future[int] | None = None

    @classmethod
    async def open(cls, port: int, *, keep_body: bool = False) -> "Connection":
        """Connect to the loopback."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: cls(keep_body=keep_body), "127.0.0.1", port
        )
        return connection

    async def send(self, raw: bytes) -> Outcome:
        """Send a request and wait for the end of its answer."""
        started = time.perf_counter()
        self._head, self._parts, self._missing, self._status = b"", [], -1, 0
        self._answer = asyncio.get_running_loop().create_future()
        if self.closed:
            return Outcome(0, 0.0)
        self._transport.write(raw)
        status = await self._answer
        return Outcome(status, time.perf_counter() - started, b"".join(self._parts))

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Count an answer's bytes."""
        if self._missing < 0:
            self._head += data
            if (end := self._head.find(b"\r\n\r\n")) < 0:
                return
            head, data = self._head[:end].lower(), self._head[end + 4 :]
            self._status = int(head[9:12])
            self._closing = b"\r\nconnection: close" in head
            at = head.index(b"\r\ncontent-length: ") + 18
            self._missing = int(head[at : at + 12].split(b"\r", 1)[0])
        self._missing -= len(data)
        if self._keep_body:
            self._parts.append(data)
        if self._missing == 0:
            self._finish(self._status)

    def connection_lost(self, _: Exception | None) -> None:
        """Tell whoever waits."""
        self.closed = True
        self._finish(0)

    def _finish(self, status: int) -> None:
        if self._closing:
            self.closed = True
            self._transport.close()
        if self._answer and not self._answer.done():
            self._answer.set_result(status)


async def closed_loop(
    port: int, requests: Iterator[bytes], *, connections: int, seconds: float
) -> Tally:
    """Each connection sends its next request when the last one is answered."""
    tally = Tally()
    started = time.perf_counter()

    async def lane() -> None:
        connection = await Connection.open(port)
        while time.perf_counter() - started < seconds:
            raw = next(requests, None)
            if raw is None:
                break
            if connection.closed:
                connection = await Connection.open(port)
            tally.add(await connection.send(raw))
        connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(lane())
    tally.wall = time.perf_counter() - started
    return tally


async def open_loop(
    port: int, requests: Sequence[bytes], *, rate: float, seconds: float, dice: random.Random
) -> Tally:
    """Requests come at random moments of a mean rate, whether or not earlier ones are answered."""
    tally, idle = Tally(), list[Connection]()
    started = time.perf_counter()

    async def one(raw: bytes) -> None:
        while idle and idle[-1].closed:
            idle.pop()
        connection = idle.pop() if idle else await Connection.open(port)
        tally.add(await connection.send(raw))
        if not connection.closed:
            idle.append(connection)

    async with asyncio.TaskGroup() as group:
        at = 0.0
        while at < seconds:
            delay = at - (time.perf_counter() - started)
            if delay > 0:
                await asyncio.sleep(delay)
            group.create_task(one(dice.choice(requests)))
            at += dice.expovariate(rate)
    tally.wall = time.perf_counter() - started
    for connection in idle:
        connection.close()
    return tally
