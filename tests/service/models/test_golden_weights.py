"""The figures that the models' own pages publish, where the real weights are on this machine."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smart_embedder.errors import ModelMissing
from smart_embedder.models import bge_m3, cross_encoder
from smart_embedder.models.hub import Hub, find
from smart_embedder.models.model import Output, Vectors
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device

pytestmark = pytest.mark.weights

CPU = Device("cpu", 0, "cpu")
ALL = Output.DENSE | Output.SPARSE | Output.COLBERT
# The page was made in fp16, and misspells "Definition".
QUERIES = ["What is BGE M3?", "Defination of BM25"]
PASSAGES = [
    (
        "BGE M3 is an embedding model supporting dense retrieval, lexical matching and "
        "multi-vector interaction."
    ),
    (
        "BM25 is a bag-of-words retrieval function that ranks a set of documents based on the "
        "query terms appearing in each document"
    ),
]
PANDA = (
    "The giant panda (Ailuropoda melanoleuca), sometimes called a panda bear or simply panda, is a "
    "bear species endemic to China."
)
NEAR = 3e-3


def weights_of(name: str) -> tuple[Path, ModelOptions]:
    options = ModelOptions(name=name)
    try:
        return find(options, Hub(offline=True), lambda _done, _total: None), options
    except ModelMissing:
        pytest.skip(f"the weights of {name} are not on this machine")


@pytest.fixture(scope="module")
def vectors() -> list[Vectors]:
    folder, options = weights_of("BAAI/bge-m3")
    model = bge_m3.load(folder, options, CPU)
    batch = [prepared.ids for prepared in model.prepare([*QUERIES, *PASSAGES])]
    answers = model.forward(batch, [ALL] * len(batch), lambda: None)
    return [answer for answer in answers if isinstance(answer, Vectors)]


def lexical(one: Vectors, other: Vectors) -> float:
    weights = [
        dict(zip(side.sparse_ids.tolist(), side.sparse_weights.tolist(), strict=True))  # type: ignore[union-attr] - asked for
        for side in (one, other)
    ]
    return sum(weight * weights[1].get(name, 0.0) for name, weight in weights[0].items())


def late(one: Vectors, other: Vectors) -> float:
    rows: Any = one.colbert @ other.colbert.T  # type: ignore[union-attr,operator] - asked for
    return float(rows.max(axis=1).mean())


def test_dense_similarities_are_those_of_the_page(vectors: list[Vectors]) -> None:
    rows = np.stack([one.dense / np.linalg.norm(one.dense) for one in vectors])  # type: ignore[arg-type,operator] - asked for
    expected = [[0.6265, 0.3477], [0.3499, 0.678]]
    np.testing.assert_allclose(rows[:2] @ rows[2:].T, expected, atol=NEAR)


def test_lexical_similarities_are_those_of_the_page(vectors: list[Vectors]) -> None:
    assert lexical(vectors[0], vectors[2]) == pytest.approx(0.19554901, abs=NEAR)
    assert lexical(vectors[0], vectors[1]) == 0.0


def test_late_interaction_scores_are_those_of_the_page(vectors: list[Vectors]) -> None:
    assert late(vectors[0], vectors[2]) == pytest.approx(0.7797, abs=NEAR)
    assert late(vectors[0], vectors[3]) == pytest.approx(0.4620, abs=NEAR)


def test_reranker_logits_are_those_of_the_page() -> None:
    folder, options = weights_of("BAAI/bge-reranker-v2-m3")
    model = cross_encoder.load(folder, options, CPU)
    pairs = [("query", "passage"), ("what is panda?", "hi"), ("what is panda?", PANDA)]
    batch = [model.prepare_pairs(query, [passage])[0].ids for query, passage in pairs]
    answers = model.forward(batch, [Output.SCORE] * len(batch), lambda: None)
    scores = [answer.score for answer in answers if isinstance(answer, Vectors)]
    # Made in fp16, whose steps between 4 and 8 are 1/256.
    assert scores == pytest.approx([-5.65234375, -8.1875, 5.26171875], abs=0.03)
