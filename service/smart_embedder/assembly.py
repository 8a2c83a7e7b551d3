"""From the vectors of single texts to the arrays of one answer: stack, cut, normalise."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

from smart_embedder.errors import EncodingFailed, InvalidInput
from smart_embedder.models.model import Card, Floats, Prepared, Vectors
from smart_embedder.results import Sparse, TextTruncation

Present = TypeVar("Present")


def dense_of(
    vectors: Sequence[Vectors], card: Card, *, normalize: bool | None, dimensions: int | None
) -> Floats:
    """One row for each text, cut to `dimensions` before it is normalised."""
    rows: Floats = np.stack([_present(text.dense) for text in vectors])[:, :dimensions]
    if normalize is None:
        normalize = card.normalized
    if not normalize:
        return np.ascontiguousarray(rows)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Floats = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def check_dimensions(dimensions: int | None, card: Card) -> None:
    """Refuse a width that the model's vectors do not have."""
    if dimensions is not None and not 0 < dimensions <= card.dimensions:
        raise InvalidInput(
            f"dimensions run from 1 to {card.dimensions} for {card.name}",
            field="dimensions",
            limit=card.dimensions,
            value=dimensions,
        )


def sparse_of(vectors: Sequence[Vectors]) -> list[Sparse]:
    """The lexical weights of each text."""
    return [Sparse(_present(text.sparse_ids), _present(text.sparse_weights)) for text in vectors]


def colbert_of(vectors: Sequence[Vectors]) -> list[Floats]:
    """The token vectors of each text."""
    return [_present(text.colbert) for text in vectors]


def scores_of(vectors: Sequence[Vectors], card: Card, *, normalize: bool) -> Floats:
    """The score of each pair; `normalize` turns logits into probabilities."""
    logits = np.array([_present(pair.score) for pair in vectors], np.float64)
    if normalize and not card.probabilities:
        # By halves of tanh, which does not overflow for any logit.
        logits = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return logits.astype(np.float32)


def truncations_of(name: str, prepared: Sequence[Prepared]) -> Iterator[TextTruncation]:
    """Name every text that was cut."""
    for index, text in enumerate(prepared):
        for cut in text.truncations:
            yield TextTruncation(index, cut.original, cut.kept, cut.side, cut.part, name)


def _present(value: Present | None) -> Present:
    """Hold a model to its word: an output that was wanted is there."""
    if value is None:
        raise EncodingFailed("the model left an output out")
    return value
