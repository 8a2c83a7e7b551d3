"""A token bucket for each client: so many requests a minute, so many at once."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

_SWEEP_SECONDS = 60.0
"""A bucket idle for as long as it takes to fill says nothing any more; once a minute those go."""


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class RateLimiter:
    """Limits each client by name; a rate of 0 limits nobody."""

    def __init__(
        self, per_minute: int, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = per_minute / 60
        self._burst = max(burst, 1)
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._swept = clock()

    def __len__(self) -> int:
        """Count the clients that are remembered."""
        return len(self._buckets)

    def admits(self, client: str) -> bool:
        """Take one request from the client's bucket; False when it is empty."""
        if not self._rate:
            return True
        now = self._clock()
        self._sweep(now)
        bucket = self._buckets.setdefault(client, _Bucket(self._burst, now))
        bucket.level = min(self._burst, bucket.level + (now - bucket.at) * self._rate)
        bucket.at = now
        if bucket.level < 1:
            return False
        bucket.level -= 1
        return True

    def _sweep(self, now: float) -> None:
        if now - self._swept < _SWEEP_SECONDS:
            return
        self._swept = now
        full_after = math.ceil(self._burst / self._rate)
        self._buckets = {
            client: bucket
            for client, bucket in self._buckets.items()
            if now - bucket.at < full_after
        }
