"""The order of a ranking, which every rerank dialect shows in its own words."""

import itertools
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import numpy as np

from smart_embedder.errors import EmbedderError
from smart_embedder.results import Ranking


@dataclass(frozen=True, slots=True)
class Ranked:
    """One passage's place in the request, and its score."""

    index: int
    score: float


def best_first(ranking: Ranking, top: int | None = None) -> list[Ranked]:
    """Sort by falling score, equal ones as they came; `top` None or 0 keeps all."""
    order = np.argsort(-ranking.scores, kind="stable")[: top or None]
    return [
        Ranked(index, score)
        for index, score in zip(order.tolist(), ranking.scores[order].tolist(), strict=True)
    ]


async def rank_pairs(
    pairs: Iterable[tuple[str, str]], rank: Callable[[str, list[str]], Awaitable[Ranking]]
) -> list[Ranking]:
    """Rank pairs of the same query that follow each other in one; an error names its pair."""
    rankings: list[Ranking] = []
    done = 0
    for query, group in itertools.groupby(pairs, key=lambda pair: pair[0]):
        passages = [passage for _, passage in group]
        try:
            rankings.append(await rank(query, passages))
        except EmbedderError as error:
            if error.index is not None:
                error.index += done
            raise
        done += len(passages)
    return rankings
