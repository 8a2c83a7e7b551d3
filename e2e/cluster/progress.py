"""Tells the person at the terminal what is done and how long it took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print `title` when the work inside begins and its seconds when it ends."""
    started = time.monotonic()
    print(f"  {title} …", end=" ", flush=True, file=sys.stderr)
    try:
        yield
    except BaseException:
        print(f"failed after {time.monotonic() - started:.1f} s", flush=True, file=sys.stderr)
        raise
    print(f"{time.monotonic() - started:.1f} s", flush=True, file=sys.stderr)
