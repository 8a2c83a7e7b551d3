"""Where the process is in its life, in one explicit state.

    starting ──▶ ready ──▶ draining ──▶ stopped
        └──────────┴──────────┴──▶ failed

It owns the state, how far the start is, and which requests are on their way. It refuses to know
how a signal arrives, what a server is and how models load.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from smart_embedder.errors import Unavailable
from smart_embedder.results import Progress, State

_NEXT: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.READY, State.DRAINING, State.FAILED}),
    State.READY: frozenset({State.DRAINING, State.FAILED}),
    State.DRAINING: frozenset({State.STOPPED, State.FAILED}),
    State.STOPPED: frozenset(),
    State.FAILED: frozenset(),
}


class Lifecycle:
    """The state of the process and the requests it is answering."""

    def __init__(self) -> None:
        self.state = State.STARTING
        self.progress: Progress | None = None
        self.failure: str | None = None
        self.started_at = time.monotonic()
        self.closing = False
        """New work is refused; only the admitted is finished."""
        self.abandoned = False
        """What is still unanswered is given up."""
        self._working: set[asyncio.Task[object]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def report(self, progress: Progress) -> None:
        """Keep how far the start is; may be called from the loading thread."""
        self.progress = progress

    def become(self, state: State) -> None:
        """Go to the next state; a step that is not in the drawing is a bug."""
        if state not in _NEXT[self.state]:
            raise RuntimeError(f"{self.state} cannot become {state}")
        self.state = state

    def fail(self, message: str) -> None:
        """Nothing more will be served, and this is why."""
        self.failure = message
        self.become(State.FAILED)

    @property
    def ready(self) -> bool:
        """Whether new connections should be sent here."""
        return self.state is State.READY

    @property
    def retiring(self) -> bool:
        """Whether answers ask their clients to connect elsewhere next time."""
        return self.state in (State.DRAINING, State.STOPPED)

    @property
    def uptime(self) -> float:
        """Seconds since the process began to serve."""
        return time.monotonic() - self.started_at

    @property
    def working(self) -> int:
        """Requests being answered."""
        return len(self._working)

    def check_open(self) -> None:
        """Raise `Unavailable` when new work is not taken."""
        if self.state is State.READY or (self.state is State.DRAINING and not self.closing):
            return
        if self.state is State.STARTING:
            raise Unavailable(f"starting: {describe(self.progress)}", retry_after=5.0)
        raise Unavailable(f"the service is {self.state}")

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold the process open while the calling task answers a request."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in a task
        self._working.add(task)
        self._idle.clear()
        try:
            yield
        finally:
            self._working.discard(task)
            if not self._working:
                self._idle.set()

    def abandon(self) -> None:
        """Give up what is unanswered: each request ends now, with an answer that says so."""
        self.abandoned = True
        for task in self._working:
            task.cancel()

    async def idle(self) -> None:
        """Wait until every admitted request is answered."""
        await self._idle.wait()


def describe(progress: Progress | None) -> str:
    """Say in words how far the start is."""
    if progress is None:
        return "nothing is loaded yet"
    if progress.stage == "downloading" and progress.total:
        done, total = progress.done / 1e6, progress.total / 1e6
        return f"downloading {progress.model}, {done:,.0f} of {total:,.0f} MB"
    if progress.total:
        return f"{progress.stage} {progress.model}, {progress.done} of {progress.total}"
    return f"{progress.stage} {progress.model}"
