"""One service process that is watched, traced or neither, as it is told between two requests.

Two processes differ by more than what is measured: where their memory lies, which of their threads
the system likes. One process that is switched differs by nothing else.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from litestar.types import ASGIApp, Receive, Scope, Send

from smart_embedder.api.operations import Unmetered
from smart_embedder.engine import Engine
from smart_embedder.lifecycle import Lifecycle
from smart_embedder.scheduling.observer import Observer, Silent
from smart_embedder.settings import Settings
from smart_embedder.telemetry.logs import Page
from smart_embedder.telemetry.telemetry import Telemetry
from smart_embedder.telemetry.tracing import set_up_tracing

SWITCH = "/bench/"
"""POST /bench/{kind} switches, and answers the CPU nanoseconds of the process so far."""


@dataclass(frozen=True, slots=True)
class Watching:
    """One way to serve: who listens behind the door, and what is around the application."""

    observer: Observer
    around: Callable[[ASGIApp], ASGIApp]


class Observers:
    """Passes on to the observer of the moment; costs the same whoever that is."""

    current: Observer = Silent()

    def __getattr__(self, name: str) -> object:
        """Look it up there, at every call."""
        return getattr(self.current, name)


class Switch(Unmetered):
    """Telemetry that can be switched while the service runs."""

    def __init__(self, settings: Settings, lifecycle: Lifecycle, page: Page) -> None:
        self._tracing = set_up_tracing(settings)
        watched = Telemetry(settings, lifecycle, None, page)
        traced = Telemetry(settings, lifecycle, self._tracing, page)
        self.observer = Observers()
        self._kinds: Mapping[str, Watching] = {
            "bare": Watching(Silent(), lambda app: app),
            "watched": Watching(watched.observer, watched.around),
            "traced": Watching(traced.observer, traced.around),
        }
        self._telemetries = watched, traced

    def follow(self, engine: Engine) -> None:
        """Read the live gauges from this engine."""
        for telemetry in self._telemetries:
            telemetry.follow(engine)

    def around(self, app: ASGIApp) -> ASGIApp:
        """Go around the application in the way that is set."""
        apps = {kind: watching.around(app) for kind, watching in self._kinds.items()}
        current = apps["bare"]

        async def switched(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal current
            path = scope["path"]
            if path.startswith(SWITCH):
                kind = path.removeprefix(SWITCH)
                for telemetry in self._telemetries:
                    telemetry.settle()
                if self._tracing:
                    self._tracing.flush()
                current, self.observer.current = apps[kind], self._kinds[kind].observer
                await _answer(send, str(time.process_time_ns()).encode())
                return
            await current(scope, receive, send)

        return switched


async def _answer(send: Send, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
