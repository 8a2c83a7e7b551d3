"""Vectors that were computed before, by content: the same ids under the same fingerprint."""

from collections import OrderedDict
from functools import lru_cache

import numpy as np

from smart_embedder.models.model import Output, Vectors

Part = object
"""A field of `Vectors`: an array of our own, or a score."""

FIELDS = {
    Output.DENSE: ("dense",),
    Output.SPARSE: ("sparse_ids", "sparse_weights", "token_weights"),
    Output.COLBERT: ("colbert",),
    Output.SCORE: ("score",),
}


@lru_cache(maxsize=16)
def fields_of(outputs: Output) -> tuple[str, ...]:
    """The fields that outputs fill; flags are too slow to take apart for every text."""
    return tuple(name for output, names in FIELDS.items() if output in outputs for name in names)


class Cache:
    """The least recently used goes first. A ColBERT matrix counts as the vectors it has."""

    def __init__(self, entries: int) -> None:
        self._room = entries
        self._held = 0
        self._parts: OrderedDict[tuple[str, str, bytes], Part] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether it may hold anything."""
        return self._room > 0

    def get(self, fingerprint: str, ids: bytes, outputs: Output) -> Vectors | None:
        """Return all these outputs of a text, or None when one is missing."""
        found = {}
        for name in fields_of(outputs):
            key = (fingerprint, name, ids)
            part = self._parts.get(key)
            if part is None:
                return None
            self._parts.move_to_end(key)
            found[name] = part
        return Vectors(**found)  # type: ignore[arg-type]  # each part was one of these fields

    def put(self, fingerprint: str, ids: bytes, outputs: Output, vectors: Vectors) -> None:
        """Keep the outputs of a text, as copies: a view would hold its whole batch in memory."""
        for name in fields_of(outputs):
            part = getattr(vectors, name)
            size = _size(name, part)
            if size <= self._room and (fingerprint, name, ids) not in self._parts:
                self._parts[fingerprint, name, ids] = _own(part)
                self._held += size
        while self._held > self._room:
            (_, name, _), part = self._parts.popitem(last=False)
            self._held -= _size(name, part)


def _size(name: str, part: object) -> int:
    """In vectors; what goes with the sparse weights counts with them."""
    if name in ("sparse_ids", "token_weights"):
        return 0
    return max(1, len(part)) if name == "colbert" and isinstance(part, np.ndarray) else 1


def _own(part: object) -> Part:
    if not isinstance(part, np.ndarray):
        return part
    copy = part.copy()
    copy.flags.writeable = False
    return copy
