"""When a keep-alive connection ends: by age, by use, in a crowd, or because the process is leaving.

A cluster's Service balances connections, not requests, and by chance: pooled clients that never
reconnect would leave the pods that were added to help them idle, and those that seldom do leave a
pod with half or twice its share for minutes. A connection ends only with an answer, which says
`Connection: close`.
"""

import asyncio
import random
from dataclasses import dataclass

from litestar.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from smart_embedder.lifecycle import Lifecycle

_FACTS = "connection"
_SPREAD = 0.25
"""Ends differ by this share both ways, so that a pool's connections do not all end together."""


@dataclass(frozen=True, slots=True)
class Connection:
    """What a request knows of the connection it came by."""

    opened: float
    """On the loop's clock."""
    spread: float
    """What its greatest age and its most requests are multiplied by."""
    crowd: int
    """How many connections are open, this one among them."""
    requests: int
    """How many requests came by it, this one among them."""


class TellingProtocol(HttpToolsProtocol):
    """uvicorn's connection, which tells each request about itself."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in its base
        """Note the time, moved by a little chance."""
        super().connection_made(transport)
        self._opened = self.loop.time()
        self._spread = random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311 - no secret
        self._requests = 0

    def on_message_begin(self) -> None:
        """Put it where the application sees it."""
        super().on_message_begin()
        self._requests += 1
        facts = Connection(self._opened, self._spread, len(self.connections), self._requests)
        self.scope["state"][_FACTS] = facts


class Retirement:
    """Wraps an application, and says of each connection whether it is kept."""

    def __init__(
        self,
        app: ASGIApp,
        lifecycle: Lifecycle,
        *,
        max_age: float,
        max_requests: int,
        max_connections: int,
    ) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._max_age = max_age
        self._max_requests = max_requests
        self._max_connections = max_connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Decide when the answer begins, which may be long after the request did."""

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._is_over(scope):
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, closing)

    def _is_over(self, scope: Scope) -> bool:
        connection: Connection | None = scope["state"].get(_FACTS)
        if self._lifecycle.retiring or connection is None:
            return self._lifecycle.retiring
        age = asyncio.get_running_loop().time() - connection.opened
        is_old = 0 < self._max_age * connection.spread < age
        has_served = 0 < self._max_requests * connection.spread <= connection.requests
        return is_old or has_served or connection.crowd > self._max_connections
