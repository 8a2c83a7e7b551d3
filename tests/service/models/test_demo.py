"""The demo models rank by shared words in every output, and are made whole, once, and alike."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from smart_embedder.errors import ModelMissing
from smart_embedder.models import catalog
from smart_embedder.models.demo import folders
from smart_embedder.models.model import Model, Output, Vectors
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device

CPU = Device("cpu", 0, "cpu")
WORDS = [
    "machine", "learning", "weather", "sunny", "garden", "piano", "violin", "quantum",
    "protocol", "harbour", "castle", "winter", "engine", "turbine", "molecule", "protein",
    "galaxy", "planet", "river", "mountain", "bread", "cheese", "coffee", "elephant", "tiger",
    "budget", "invoice", "contract", "lawyer", "hospital", "nurse",
]  # fmt: skip


def load(name: str, cache: Path) -> Model:
    return catalog.loader(ModelOptions(name=name), folders.cached(name, cache))(CPU)


def run(model: Model, texts: list[str], wanted: Output) -> list[Vectors]:
    batch = [prepared.ids for prepared in model.prepare(texts)]
    answers = model.forward(batch, [wanted] * len(batch), lambda: None)
    assert all(isinstance(answer, Vectors) for answer in answers)
    return [answer for answer in answers if isinstance(answer, Vectors)]


def dense(query: Vectors, text: Vectors) -> float:
    assert query.dense is not None
    assert text.dense is not None
    both = np.linalg.norm(query.dense) * np.linalg.norm(text.dense)
    return float(query.dense @ text.dense / both)


def sparse(query: Vectors, text: Vectors) -> float:
    assert query.sparse_ids is not None
    assert text.sparse_ids is not None
    assert query.sparse_weights is not None
    assert text.sparse_weights is not None
    _, here, there = np.intersect1d(query.sparse_ids, text.sparse_ids, return_indices=True)
    return float(query.sparse_weights[here] @ text.sparse_weights[there])


def colbert(query: Vectors, text: Vectors) -> float:
    assert query.colbert is not None
    assert text.colbert is not None
    return float((query.colbert @ text.colbert.T).max(axis=1).mean())


def scenes() -> list[tuple[str, list[str]]]:
    """A query, a text of five words that shares two of its three, and one that shares none."""
    dice = random.Random(7)
    found = []
    for _ in range(20):
        query = dice.sample(WORDS, 3)
        others = [word for word in WORDS if word not in query]
        near = dice.sample([*query[:2], *dice.sample(others, 3)], 5)
        found.append((" ".join(query), [" ".join(near), " ".join(dice.sample(others, 5))]))
    return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.mark.parametrize(
    ("name", "output", "compare"),
    [
        ("demo/bge-m3", Output.DENSE, dense),
        ("demo/bge-m3", Output.SPARSE, sparse),
        ("demo/bge-m3", Output.COLBERT, colbert),
        ("demo/qwen3-embedding", Output.DENSE, dense),
    ],
)
def test_shared_words_make_vectors_alike(
    cache: Path, name: str, output: Output, compare: Callable[[Vectors, Vectors], float]
) -> None:
    told = [[query, *texts] for query, texts in scenes()]
    found = iter(run(load(name, cache), [text for scene in told for text in scene], output))
    for scene in told:
        asked, near, far = next(found), next(found), next(found)
        assert compare(asked, near) > compare(asked, far), scene


@pytest.mark.parametrize("name", ["demo/bge-reranker-v2-m3", "demo/qwen3-reranker"])
def test_shared_words_make_a_passage_rank_first(cache: Path, name: str) -> None:
    model = load(name, cache)
    pairs = [pair for query, texts in scenes() for pair in model.prepare_pairs(query, texts)]
    answers = model.forward([pair.ids for pair in pairs], [Output.SCORE] * len(pairs), lambda: None)
    scores = np.array([answer.score for answer in answers if isinstance(answer, Vectors)])
    near, far = scores.reshape(-1, 2).T
    assert (near > far).all()


@pytest.mark.parametrize("name", folders.names())
def test_the_same_folder_is_made_everywhere(cache: Path, tmp_path: Path, name: str) -> None:
    first, second = (folders.cached(name, place) for place in (cache, tmp_path))
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file
    assert "not trained" in (first / "README.md").read_text()


def test_processes_that_start_together_share_one_whole_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: folders.cached("demo/bge-m3", tmp_path), range(4)))
    (folder,) = found
    assert list(tmp_path.iterdir()) == [folder]
    assert (folder / "README.md").is_file()


def test_an_unknown_demo_model_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="demo/qwen3-reranker"):
        folders.cached("demo/nonesuch", tmp_path)
