"""What a request must pass before its body is read.

In this order, each cheaper than what follows: the process takes work, the caller is known, the
caller has not used up its share, there is room for one more request at all.
"""

import math
import time
from typing import Any

from litestar import Request

from smart_embedder.api.errors import RateLimited, Unauthorized
from smart_embedder.errors import InvalidInput, Overloaded
from smart_embedder.lifecycle import Lifecycle
from smart_embedder.scheduling.observer import Lane
from smart_embedder.security.proxies import client_address
from smart_embedder.security.rate import RateLimiter
from smart_embedder.security.tokens import Tokens
from smart_embedder.settings import Settings


class Door:
    """Lets requests in, or refuses them with the same status in every dialect."""

    def __init__(self, settings: Settings, lifecycle: Lifecycle) -> None:
        self._settings = settings
        self._lifecycle = lifecycle
        self.tokens = Tokens(settings.tokens, settings.api_tokens_file)
        self._rate = RateLimiter(
            settings.rate_limit_requests_per_minute, settings.rate_limit_burst_size
        )

    def admit(self, request: Request[Any, Any, Any]) -> str:
        """Return who calls: the name of the token, or the address."""
        self._lifecycle.check_open()
        client = self._identify(request)
        self._spend(client)
        limit = self._settings.uvicorn_limit_concurrency
        if self._lifecycle.working > limit:
            raise Overloaded(
                f"{limit} requests are being answered",
                reason="requests",
                retry_after=1,
                limit=limit,
            )
        return client

    def _identify(self, request: Request[Any, Any, Any]) -> str:
        if not self.tokens.required:
            return self._address(request)
        name = self.tokens.name_of(request.headers.get("authorization", ""))
        if name is None:
            self._spend(self._address(request))  # nobody tries tokens faster than the limit
            raise Unauthorized("a valid bearer token is needed", field="Authorization")
        return name

    def _address(self, request: Request[Any, Any, Any]) -> str:
        peer = request.client.host if request.client else "unknown"
        # Some proxies append to the header, others add another; the nearest one has the last word.
        chain = ",".join(request.headers.getall("x-forwarded-for", []))
        return client_address(peer, chain, self._settings.trusted_proxies)

    def _spend(self, client: str) -> None:
        if not self._rate.admits(client):
            limit = self._settings.rate_limit_requests_per_minute
            raise RateLimited(f"more than {limit} requests a minute", limit=limit)


def deadline_of(request: Request[Any, Any, Any], longest: float) -> float:
    """Say when the request's time is over: X-Request-Timeout seconds, REQUEST_TIMEOUT at most."""
    asked = request.headers.get("x-request-timeout")
    if asked is None:
        return time.monotonic() + longest
    try:
        seconds = float(asked)
    except ValueError:
        seconds = math.nan
    if not (seconds > 0):
        raise InvalidInput(
            "X-Request-Timeout must be a positive number of seconds",
            field="X-Request-Timeout",
            limit=longest,
            value=asked,
        )
    return time.monotonic() + min(seconds, longest)


def lane_of(request: Request[Any, Any, Any]) -> Lane | None:
    """Read X-Priority; without it the engine goes by the size of the request."""
    asked = request.headers.get("x-priority")
    if asked is None:
        return None
    try:
        return Lane(asked.strip().lower())
    except ValueError:
        raise InvalidInput(
            "X-Priority must be interactive or bulk",
            field="X-Priority",
            limit="interactive, bulk",
            value=asked,
        ) from None
