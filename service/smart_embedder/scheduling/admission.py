"""The door: who comes in, and who is told at once when to come back.

It counts requests and tokens. What the texts say, and which runs when, is not known here.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol, cast

from smart_embedder.errors import DeadlineExceeded, Overloaded, Unavailable
from smart_embedder.options import SchedulingOptions
from smart_embedder.scheduling.job import Ticket
from smart_embedder.scheduling.observer import Kind, Lane, Observer, Refusal

BULK_SHARE = 0.75
"""Bulk leaves a quarter of the slots to those who wait in person."""
RETRY_SECONDS = (1.0, 60.0)
"""The shortest and the longest wait that a refused client is asked for."""


class Capacity(Protocol):
    """What the door asks about the other side of the queue."""

    @property
    def alive(self) -> bool:
        """Whether any device answers."""
        ...

    def seconds(self, tokens: float) -> float:
        """Predict how long so many tokens take all devices together."""
        ...


class Door:
    """Counts what is admitted and not yet answered, and refuses what would be too much."""

    def __init__(
        self,
        options: SchedulingOptions,
        max_tokens: int,
        devices: Capacity,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.inside: set[Ticket] = set()
        self.tokens = dict.fromkeys(Lane, 0)
        """Admitted and not yet computed."""
        self.empty = asyncio.Event()
        """Nobody is inside."""
        self.empty.set()
        self._slots = {
            Kind.EMBED: options.max_queue_requests,
            Kind.RERANK: options.max_rerank_requests,
        }
        self._taken = {(kind, lane): 0 for kind in Kind for lane in Lane}
        self._max_tokens = max_tokens
        self._devices = devices
        self._observer = observer
        self._clock = clock
        self._waiters: dict[Ticket, asyncio.Future[None]] = {}
        self._closed: str | None = None

    async def enter(self, ticket: Ticket, wait_seconds: float = 0.0) -> None:
        """Admit a request, or refuse it at once (or after it has waited so long for room).

        Raises `DeadlineExceeded` when the request's own time is over first; the door has not
        refused it then.
        """
        if self._left(ticket) <= 0:
            raise _over()
        refusal = self._refusal(ticket)
        # Those who may wait are bounded too: as many as there are slots.
        may_wait = wait_seconds > 0 and len(self._waiters) < sum(self._slots.values())
        if isinstance(refusal, Overloaded) and may_wait:
            refusal = await self._wait(ticket, refusal, wait_seconds)
        elif refusal is None:
            self._let_in(ticket)
        if refusal:
            self._observer.refused(ticket.kind, _reason(refusal))
            raise refusal
        self._observer.admitted(ticket.kind, ticket.lane, ticket.texts)

    def settle(self, ticket: Ticket, tokens: int) -> None:
        """Replace the estimate of a request's tokens by what is left to compute."""
        self.tokens[ticket.lane] += tokens - ticket.tokens
        ticket.tokens = tokens

    def pay(self, ticket: Ticket, tokens: int) -> None:
        """Take computed tokens off the count; a request that has left owes none."""
        self.settle(ticket, max(ticket.tokens - tokens, 0))

    def leave(self, ticket: Ticket) -> None:
        """Give what an answered request held to those who wait and fit, the first before all."""
        self.settle(ticket, 0)
        self.inside.discard(ticket)
        self._taken[ticket.kind, ticket.lane] -= 1
        for waiting, turn in self._waiters.items():
            if not turn.done() and self._refusal(waiting) is None:
                self._let_in(waiting)
                turn.set_result(None)
        if not self.inside:
            self.empty.set()

    def close(self, why: str) -> None:
        """Refuse everybody from now on, those who wait outside as well."""
        self._closed = why
        for turn in self._waiters.values():
            if not turn.done():
                turn.set_exception(self._unavailable())

    def count(self, *, kind: Kind | None = None, lane: Lane | None = None) -> int:
        """How many requests of a kind or a lane are inside."""
        return sum(
            taken
            for (each, where), taken in self._taken.items()
            if kind in {None, each} and lane in {None, where}
        )

    def retry_after(self) -> float:
        """Until half of the queue has drained: the device must not fall idle before they return."""
        shortest, longest = RETRY_SECONDS
        return min(max(self._devices.seconds(sum(self.tokens.values())) / 2, shortest), longest)

    def _let_in(self, ticket: Ticket) -> None:
        self.inside.add(ticket)
        self.empty.clear()
        self._taken[ticket.kind, ticket.lane] += 1
        self.tokens[ticket.lane] += ticket.tokens

    async def _wait(
        self, ticket: Ticket, refusal: Overloaded, seconds: float
    ) -> Overloaded | Unavailable | None:
        """Wait for a place; who leaves lets the next one in, so nobody overtakes."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[ticket] = turn
        left = self._left(ticket)
        try:
            await asyncio.wait({turn}, timeout=min(seconds, left))
        except asyncio.CancelledError:
            if turn.done() and not turn.exception():
                self.leave(ticket)
            raise
        finally:
            del self._waiters[ticket]
        if not turn.done():
            if left < seconds:
                raise _over()
            return refusal
        error = turn.exception()
        return error if isinstance(error, Unavailable) else None

    def _refusal(self, ticket: Ticket) -> Overloaded | Unavailable | None:
        if self._closed or not self._devices.alive:
            return self._unavailable()
        slots, lane = self._slots[ticket.kind], ticket.lane
        taken = {lane: self._taken[ticket.kind, lane] for lane in Lane}
        if sum(taken.values()) >= slots:
            return self._overloaded("requests", f"{slots} requests are waiting or running", slots)
        if lane is Lane.BULK and taken[lane] >= slots * BULK_SHARE:
            return self._overloaded("requests", "the bulk lane is full", slots * BULK_SHARE)
        # Each lane has the whole allowance, so that a reindex cannot shut the door to a query;
        # and an empty lane takes any request, or one above the limit could never be served.
        if self.tokens[lane] and self.tokens[lane] + ticket.tokens > self._max_tokens:
            return self._overloaded("tokens", "too many tokens are waiting", self._max_tokens)
        return self._too_late(ticket)

    def _too_late(self, ticket: Ticket) -> Overloaded | None:
        """Refuse now what would only time out later."""
        if ticket.deadline is None:
            return None
        ahead = self.tokens[ticket.lane]
        if ticket.lane is Lane.BULK:
            ahead += self.tokens[Lane.INTERACTIVE]
        wait, left = self._devices.seconds(ahead), self._left(ticket)
        if wait <= left:
            return None
        return self._overloaded("wait", f"the wait would be {wait:.1f} s", round(left, 3))

    def _left(self, ticket: Ticket) -> float:
        """Seconds until the request's time is over."""
        return math.inf if ticket.deadline is None else ticket.deadline - self._clock()

    def _overloaded(self, reason: Refusal, why: str, limit: float) -> Overloaded:
        retry_after = self.retry_after()
        return Overloaded(
            f"the queue is full: {why}", reason=reason, retry_after=retry_after, limit=limit
        )

    def _unavailable(self) -> Unavailable:
        why = self._closed or "no device answers"
        return Unavailable(why, retry_after=self.retry_after())


def _over() -> DeadlineExceeded:
    return DeadlineExceeded("the time for this request is over")


def _reason(refusal: Overloaded | Unavailable) -> Refusal:
    return cast(Refusal, refusal.reason) if isinstance(refusal, Overloaded) else "unavailable"
