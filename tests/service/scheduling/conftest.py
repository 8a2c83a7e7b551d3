"""What the scheduler tells, kept for a test to read."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from smart_embedder.scheduling.observer import Silent


class Recorder(Silent):
    """Keeps every event by its name."""

    def __init__(self) -> None:
        self.events: list[tuple[str, tuple[Any, ...]]] = []
        for name in vars(Silent):
            if not name.startswith("_") and name != "trace":
                setattr(self, name, partial(self._keep, name))

    def _keep(self, name: str, *facts: Any) -> None:
        self.events.append((name, facts))

    def of(self, name: str) -> list[tuple[Any, ...]]:
        """The facts of every event of that name."""
        return [facts for event, facts in self.events if event == name]


@pytest.fixture
def recorder() -> Recorder:
    """An observer that remembers."""
    return Recorder()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Any]:
    """Wait until something is true, giving the loop and the threads their turns."""

    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - the threads under test set no event of the loop
                await asyncio.sleep(0.001)

    return wait
