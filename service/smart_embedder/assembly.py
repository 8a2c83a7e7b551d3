"""From the vectors of single texts to one answer: stack, cut, normalise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from smart_embedder.errors import EncodingFailed, InvalidInput
from smart_embedder.models.model import Card, Floats, Output, Prepared, Vectors
from smart_embedder.results import Embeddings, Ranking, Sparse, TextTruncation, Timings
from smart_embedder.roster import Route
from smart_embedder.scheduling.job import Ticket

Present = TypeVar("Present")


@dataclass(frozen=True, slots=True)
class Computed:
    """What one model read and found."""

    route: Route
    texts: Sequence[Prepared]
    vectors: Sequence[Vectors]


def check_dimensions(dimensions: int | None, route: Route) -> None:
    """Refuse a width that the model's dense vectors do not have."""
    if dimensions is None or Output.DENSE not in route.outputs:
        return
    if not 0 < dimensions <= route.card.dimensions:
        raise InvalidInput(
            f"dimensions run from 1 to {route.card.dimensions} for {route.name}",
            field="dimensions",
            limit=route.card.dimensions,
            value=dimensions,
        )


def embeddings_of(
    parts: Sequence[Computed], ticket: Ticket, *, normalize: bool | None, dimensions: int | None
) -> Embeddings:
    """Put the outputs of one or two models into one answer."""
    by_output = {output: part for part in parts for output in part.route.outputs}
    dense = by_output.get(Output.DENSE)
    sparse = by_output.get(Output.SPARSE)
    colbert = by_output.get(Output.COLBERT)
    return Embeddings(
        dense=_dense(dense, normalize=normalize, dimensions=dimensions) if dense else None,
        sparse=_sparse(sparse) if sparse else None,
        colbert=[_present(text.colbert) for text in colbert.vectors] if colbert else None,
        tokens=[len(text.ids) for text in parts[0].texts],
        truncations=tuple(cut for part in parts for cut in _truncations(part)),
        timings=_timings(ticket),
        cards={output: part.route.card for output, part in by_output.items()},
    )


def ranking_of(part: Computed, ticket: Ticket, *, normalize: bool) -> Ranking:
    """Put the scores of one reranker into one answer."""
    return Ranking(
        scores=_scores(part.vectors, part.route.card, normalize=normalize),
        tokens=[len(pair.ids) for pair in part.texts],
        truncations=tuple(_truncations(part)),
        timings=_timings(ticket),
        card=part.route.card,
    )


def _dense(part: Computed, *, normalize: bool | None, dimensions: int | None) -> Floats:
    """One row for each text, cut before it is normalised."""
    rows: Floats = np.stack([_present(text.dense) for text in part.vectors])[:, :dimensions]
    if not (part.route.card.normalized if normalize is None else normalize):
        return np.ascontiguousarray(rows)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Floats = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def _sparse(part: Computed) -> list[Sparse]:
    return [
        Sparse(
            _present(text.sparse_ids), _present(text.sparse_weights), _present(text.token_weights)
        )
        for text in part.vectors
    ]


def _scores(vectors: Sequence[Vectors], card: Card, *, normalize: bool) -> Floats:
    """One score for each pair; `normalize` turns logits into probabilities."""
    logits = np.array([_present(pair.score) for pair in vectors], np.float64)
    if normalize and not card.probabilities:
        # The sigmoid by way of tanh, which overflows for no logit.
        logits = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return logits.astype(np.float32)


def _truncations(part: Computed) -> Iterator[TextTruncation]:
    for index, text in enumerate(part.texts):
        for cut in text.truncations:
            yield TextTruncation(index, cut.original, cut.kept, cut.side, cut.part, part.route.name)


def _timings(ticket: Ticket) -> Timings:
    return Timings(ticket.tokenize, ticket.queue, ticket.inference)


def _present(value: Present | None) -> Present:
    """Hold a model to its word: an output that was wanted is there."""
    if value is None:
        raise EncodingFailed("the model left an output out")
    return value
