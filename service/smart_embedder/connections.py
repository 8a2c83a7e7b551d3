"""When a keep-alive connection ends: at its age, or because the process is leaving.

A cluster's Service balances connections, not requests: pooled clients that never reconnect would
leave the pods that were added to help them idle. A connection ends only with an answer, which says
`Connection: close`.
"""

import asyncio
import random

from litestar.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from smart_embedder.lifecycle import Lifecycle

_BIRTH = "connection_birth"
_SPREAD = 0.25
"""Ages differ by this share both ways, so that a pool's connections do not all end together."""


class DatedProtocol(HttpToolsProtocol):
    """uvicorn's connection, which tells each request how old it is."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in its base
        """Note the time, moved by a little chance."""
        super().connection_made(transport)
        self._birth = (self.loop.time(), random.uniform(1 - _SPREAD, 1 + _SPREAD))  # noqa: S311 - no secret

    def on_message_begin(self) -> None:
        """Put it where the application sees it."""
        super().on_message_begin()
        self.scope["state"][_BIRTH] = self._birth


class Retirement:
    """Wraps an application: connections that are old, or of a leaving process, are not kept."""

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle, max_age: float) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._max_age = max_age

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Decide when the answer begins, which may be long after the request did."""

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._is_over(scope):
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, closing)

    def _is_over(self, scope: Scope) -> bool:
        if self._lifecycle.retiring:
            return True
        birth = scope.get("state", {}).get(_BIRTH)
        if birth is None or not self._max_age:
            return False
        opened, spread = birth
        return bool(asyncio.get_running_loop().time() - opened > self._max_age * spread)
