"""A deduplicating queue of keys: every key is worked on by one worker at a time.

`add` as often as you like: a key waits once, and one that is added while it is being worked on
comes back once more afterwards. What has changed goes before what is only looked at again. A
failing key is tried again with growing, jittered pauses and holds up nobody else. What a key
means and what the work is, this file does not know.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Protocol, TypeVar

import structlog

Key = TypeVar("Key", bound=Hashable)

FIRST_RETRY_SECONDS = 0.2
# The longest pause: whoever mends a cause sees it noticed within 30 s.
LAST_RETRY_SECONDS = 20.0
# Work that takes longer hangs: a reconcile is some thirty requests of at most 30 s each, in
# practice of milliseconds. A worker must not be lost to one key.
WORK_SECONDS = 120.0

log = structlog.get_logger()


class TryAgain(Exception):
    """Raised by the work when another try will do; `after` seconds if the server named a time."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class QueueObserver(Protocol):
    """Told what the queue does, so that it can be counted."""

    def added(self, depth: int) -> None:
        """A key joined the queue."""

    def started(self, depth: int, waited: float) -> None:
        """A worker took a key that had waited so many seconds."""

    def finished(self, seconds: float, result: str) -> None:
        """The work on a key ended with `success`, `requeue_after` or `error`."""

    def retried(self) -> None:
        """A key that failed will be tried again."""


class WorkQueue(Generic[Key]):
    """Keys to work on, and the workers' loop."""

    def __init__(
        self,
        work: Callable[[Key], Awaitable[float | None]],
        observer: QueueObserver,
        *,
        spacing: float = 0.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`work` returns in how many seconds it wants the key again, or None for never.

        `spacing` is the least time between two starts of one key: events come in flocks, and
        one look at the end of the flock sees them all. `jitter` draws from 0 to 1.
        """
        self._work = work
        self._observer = observer
        self._spacing = spacing
        self._jitter = jitter
        self._ready: asyncio.PriorityQueue[tuple[bool, int, Key]] = asyncio.PriorityQueue()
        self._numbers = itertools.count()
        self._waiting: dict[Key, float] = {}  # since when
        self._urgent: set[Key] = set()  # of those that wait, now or for their time
        self._busy: dict[Key, float] = {}  # since when
        self._last_start: dict[Key, float] = {}
        self._again: dict[Key, bool] = {}  # and whether that is urgent
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: Key) -> bool:
        return key in self._waiting or key in self._busy or key in self._timers

    def busy_seconds(self) -> list[float]:
        """How long each key now at work has been at work."""
        now = time.monotonic()
        return [now - since for since in self._busy.values()]

    def add(self, key: Key, *, urgent: bool = True) -> None:
        """Ask for work on a key as soon as its spacing allows, before all that is not urgent."""
        if key in self._busy:
            self._again[key] = urgent or self._again.get(key, False)
            return
        pause = self._last_start.get(key, 0.0) + self._spacing - time.monotonic()
        if pause > 0:
            self.add_after(key, pause, urgent=urgent)
        elif key not in self._waiting:
            self._waiting[key] = time.monotonic()
            self._push(key, urgent=urgent)
            self._observer.added(len(self))
        elif urgent and key not in self._urgent:
            self._push(key, urgent=True)  # its earlier place is void, since a key waits once

    def add_after(self, key: Key, seconds: float, *, urgent: bool = False) -> None:
        """Ask for work on a key in so many seconds; of two such wishes the earlier counts."""
        if urgent:
            self._urgent.add(key)
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        timer = self._timers.get(key)
        if timer is None or timer.when() > due:
            if timer is not None:
                timer.cancel()
            self._timers[key] = loop.call_at(due, self._ring, key)

    def clear(self) -> None:
        """Forget every wish: somebody else does the work now. Nothing may be at work here."""
        for timer in self._timers.values():
            timer.cancel()
        for held in (self._timers, self._waiting, self._again, self._failures, self._last_start):
            held.clear()
        self._urgent.clear()

    async def run(self, workers: int) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(workers):
                tasks.create_task(self._worker(), name=f"worker {number}")

    def _ring(self, key: Key) -> None:
        del self._timers[key]
        urgent = key in self._urgent
        self._urgent.discard(key)
        self.add(key, urgent=urgent)

    def _push(self, key: Key, *, urgent: bool) -> None:
        if urgent:
            self._urgent.add(key)
        self._ready.put_nowait((not urgent, next(self._numbers), key))

    async def _worker(self) -> None:
        while True:
            _, _, key = await self._ready.get()
            if key not in self._waiting:
                continue
            now = time.monotonic()
            self._observer.started(len(self) - 1, now - self._waiting.pop(key))
            self._urgent.discard(key)
            self._busy[key] = self._last_start[key] = now
            try:
                result = await self._attempt(key)
            except asyncio.CancelledError:
                self._again[key] = True  # cut off half-way: whoever works next begins anew
                raise
            finally:
                del self._busy[key]
                if key in self._again:
                    self.add(key, urgent=self._again.pop(key))
            self._observer.finished(time.monotonic() - now, result)

    async def _attempt(self, key: Key) -> str:
        try:
            async with asyncio.timeout(WORK_SECONDS):
                after = await self._work(key)
        except TryAgain as wish:
            log.info("trying again", key=key, why=str(wish))
            self._retry(key, wish.after)
            return "error"
        except Exception:
            # Whatever one Embedder does to us stays with that Embedder: it is tried again later.
            log.exception("reconcile failed", key=key)
            self._retry(key, None)
            return "error"
        self._failures.pop(key, None)
        if after is None:
            # What is gone goes in a flock of events too: its spacing is kept, and then forgotten.
            asyncio.get_running_loop().call_later(self._spacing, self._last_start.pop, key, None)
            return "success"
        self.add_after(key, after)
        return "requeue_after"

    def _retry(self, key: Key, after: float | None) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 10))
        self._observer.retried()
        self.add_after(key, max(after or 0.0, pause * (0.5 + self._jitter() / 2)))
