"""Waits for conditions, never for the clock."""

import time
from collections.abc import Callable
from typing import TypeVar

from e2e.cluster.trouble import Trouble

T = TypeVar("T")


class WaitedInVain(Trouble):
    """A condition did not come true in time."""


def until(look: Callable[[], T], what: str, *, seconds: float = 60, every: float = 0.25) -> T:
    """The first truthy answer of `look`; raises WaitedInVain with the last one otherwise."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise WaitedInVain(f"{what}: not within {seconds:.0f} s (last seen: {seen!r})")
        time.sleep(every)
