"""Every request, watched: an ASGI application around the service's.

It measures from the first byte of the request to the last of the answer, and reads who asked for
what from the `Call` that the service leaves in the scope. What is told of it is `ledger`'s.
"""

from contextlib import AbstractContextManager, nullcontext

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from smart_embedder.api.call import Call
from smart_embedder.telemetry.ledger import Ledger, Visit
from smart_embedder.telemetry.tracing import Tracing, recording

_OPERATIONS = ("/health", "/metrics", "/stats", "/docs", "/redoc", "/openapi")


class Watched:
    """The service's application, watched."""

    def __init__(self, app: ASGIApp, tracing: Tracing | None, ledger: Ledger) -> None:
        self._app = app
        self._tracing = tracing
        self._ledger = ledger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and note it."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        visit = Visit(scope["method"], scope["path"])

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                if visit.trace:
                    message["headers"] = [*message["headers"], *visit.trace.headers()]
            await send(message)

        with self._traced(scope, visit):
            try:
                await self._app(scope, receive, sending)
            finally:
                call = scope.get("state", {}).get("call")
                work = call if isinstance(call, Call) and not call.public else None
                visit.end(work, scope.get("path_template") or visit.route)
                self._ledger.note(visit)

    def _traced(self, scope: HTTPScope, visit: Visit) -> AbstractContextManager[None]:
        """Decide whether the request is recorded; public paths are not worth a span."""
        if self._tracing is None or scope["path"].startswith(_OPERATIONS):
            return nullcontext()
        visit.trace = self._tracing.begin(visit.method, scope["headers"], visit.began)
        return recording(visit.recorded) if visit.recorded else nullcontext()
