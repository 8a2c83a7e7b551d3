"""The order of a ranking, which every rerank dialect shows in its own words."""

from dataclasses import dataclass

import numpy as np

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
