"""The percentiles of the last minutes, in a fixed amount of memory.

Durations fall into geometric buckets, a ring of slices forgets what is old; a percentile is right
to within a bucket's width, which is what a person reading `/stats` needs.
"""

import math
import time
from collections.abc import Callable

from smart_embedder.api.operations import Percentiles

SLICES, SLICE_SECONDS = 10, 30.0
"""Five minutes, forgotten half a minute at a time."""
SHORTEST, GROWTH, BUCKETS = 0.0005, 1.1, 140
"""From half a millisecond, each bucket 10 % wider than the last, to five minutes."""


class Recent:
    """Durations of the last five minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slices = [[0] * BUCKETS for _ in range(SLICES)]
        self._now = 0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        steps = math.log(max(seconds, SHORTEST) / SHORTEST, GROWTH)
        self._current()[min(int(steps), BUCKETS - 1)] += 1

    def percentiles(self) -> Percentiles:
        """Read them now."""
        self._current()
        counts = [sum(column) for column in zip(*self._slices, strict=True)]
        total = sum(counts)
        found = [_quantile(counts, total, share) for share in (0.5, 0.95, 0.99)]
        return Percentiles(total, *found)

    def _current(self) -> list[int]:
        """The slice of this moment; those in between were silent and are emptied."""
        now = int(self._clock() / SLICE_SECONDS)
        for passed in range(max(self._now + 1, now - SLICES + 1), now + 1):
            self._slices[passed % SLICES] = [0] * BUCKETS
        self._now = now
        return self._slices[now % SLICES]


def _quantile(counts: list[int], total: int, share: float) -> float:
    seen = 0
    for bucket, count in enumerate(counts):
        seen += count
        if count and seen >= share * total:
            return round(SHORTEST * math.pow(GROWTH, bucket + 0.5), 6)
    return 0.0
