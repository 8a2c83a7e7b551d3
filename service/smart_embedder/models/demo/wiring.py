"""What the demo weights mean: a plan of coordinates, shared by both architectures.

The hidden state is 120 coordinates of content (a random direction for each piece) and 8 that
carry roles. Attention is wired by hand so that a reader token (`<s>`, `<|endoftext|>`) gathers the
content of the weighty tokens, and a weighty token looks for its own likeness, sharing its look
with a sink: the less it sees of the sink, the more often its word stands in the text. A reranker
reads just that. Everything has a little noise, so no weight is idle. None of it is trained.
"""

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smart_embedder.models.demo.vocabulary import is_weak, root

Weights = dict[str, npt.NDArray[np.float32]]
Matrix = npt.NDArray[np.float32]

WIDTH = 128
READER, WEIGHT, FILL, SINK = (0, 1), (2, 3), (4, 5), (6, 7)
"""Roles, each a pair of coordinates of opposite sign, so that a mean taken off them is zero."""
CONTENT = np.arange(8, WIDTH)


@dataclass(frozen=True, slots=True)
class Roles:
    """Which special tokens read, and which are looked past."""

    readers: frozenset[str]
    sinks: frozenset[str]


class Noise:
    """Small random numbers, the same for the same name on every machine."""

    def __init__(self, name: str) -> None:
        self._random = np.random.default_rng(zlib.crc32(name.encode()))

    def normal(self, *shape: int, scale: float = 0.002) -> Matrix:
        """Draw from a normal distribution around zero."""
        return (self._random.standard_normal(shape) * scale).astype(np.float32)

    def ones(self, size: int) -> Matrix:
        """Draw the gains of a normalisation: about one."""
        return 1 + self.normal(size)


def mark(row: Matrix, role: tuple[int, int], strength: float) -> None:
    """Give a row, or every row of a matrix, a role."""
    row[..., role[0]] += strength
    row[..., role[1]] -= strength


def embeddings(tokens: list[str], roles: Roles, noise: Noise) -> Matrix:
    """Give every token its row: kin share a direction, specials have a role and no content."""
    special = roles.readers | roles.sinks
    roots = {core: row for row, core in enumerate(dict.fromkeys(map(root, tokens)))}
    directions = _directions(len(roots), noise)
    table = noise.normal(len(tokens), WIDTH, scale=0.01)
    for row, token in zip(table, tokens, strict=True):
        mark(row, READER, 8.0 * (token in roles.readers))
        mark(row, SINK, 8.0 * (token in roles.sinks))
        if token in special:
            continue
        weak = is_weak(token)
        mark(row, FILL, 7.0 * weak)
        mark(row, WEIGHT, 3.0 * (not weak))
        row[CONTENT] += directions[roots[root(token)]] * (0.3 if weak else 1.0)
    return table


def _directions(count: int, noise: Noise) -> Matrix:
    """Draw random directions whose every slice of 30 (what one head sees) is of one length."""
    slices = noise.normal(count, len(CONTENT) // 30, 30, scale=1.0)
    slices *= np.sqrt(30) / np.linalg.norm(slices, axis=2, keepdims=True)
    return slices.reshape(count, len(CONTENT))
