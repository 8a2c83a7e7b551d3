"""Texts to ids beside the event loop, while the device runs the batch before."""

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from smart_embedder.errors import EmbedderError, EmptyInput, InvalidInput, Unavailable
from smart_embedder.models.model import Prepared, Text

CHUNK = 256
"""Texts that one thread takes at a time, so that ten thousand do not hold up a single one."""
CHARACTERS = 4
"""Of one token, roughly; only for the door, which must not wait for the tokenizer."""

Item = TypeVar("Item", str, Text)
Result = TypeVar("Result")


class Tokenizers:
    """A pool of threads; the tokenizers release the GIL while they work."""

    def __init__(self, workers: int | None) -> None:
        self._pool = ThreadPoolExecutor(workers or _cores(), "tokenizer")
        self._stopped = False

    async def call(self, function: Callable[[], Result]) -> Result:
        """Run something that belongs to a tokenizer."""
        if self._stopped:
            raise Unavailable("the engine has stopped")
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    async def prepare(
        self, prepare: Callable[[Sequence[Item]], list[Prepared]], items: Sequence[Item]
    ) -> list[Prepared]:
        """Tokenize in chunks; an error names the index in the whole."""
        if len(items) <= CHUNK:
            return await self.call(partial(prepare, items))
        prepared: list[Prepared] = []
        for start in range(0, len(items), CHUNK):
            try:
                prepared += await self.call(partial(prepare, items[start : start + CHUNK]))
            except EmbedderError as error:
                if error.index is not None:
                    error.index += start
                raise
        return prepared

    def stop(self) -> None:
        """Take no more; end the threads when they have finished."""
        self._stopped = True
        self._pool.shutdown(wait=False)


def check_texts(texts: Sequence[Text], field: str) -> None:
    """Refuse nothing at all, and the one string that would be taken for a list of characters."""
    if isinstance(texts, str):
        raise InvalidInput(f"{field} is a list of texts, not one text", field=field)
    if not texts:
        raise EmptyInput(f"{field} is empty", field=field)


def estimate(texts: Sequence[Text], max_tokens: int) -> int:
    """Guess the tokens of texts without reading them."""
    return sum(
        min(len(text) // CHARACTERS + 2 if isinstance(text, str) else len(text), max_tokens)
        for text in texts
    )


def _cores() -> int:
    """Count the cores this process may use, where the system tells; a container has fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
