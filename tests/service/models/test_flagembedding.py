"""The reference engine answers through the same seam, with the numbers of the packed one."""

from pathlib import Path

import numpy as np
import pytest

from smart_embedder.errors import ModelLoadFailed
from smart_embedder.models import catalog
from smart_embedder.models.demo import folders
from smart_embedder.models.model import Model, Output, Vectors
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device

# Its imports are slow on a busy machine, and FlagEmbedding's own warnings are not ours to mend.
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

CPU = Device("cpu", 0, "cpu")
TOLERANCE = 1e-4
TEXTS = ["Machine learning is a subset of AI", "", "The weather is nice. " * 20, "one one one"]
EVERY = Output.DENSE | Output.SPARSE | Output.COLBERT


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def load(cache: Path, name: str, engine: str, **options: str) -> Model:
    wanted = ModelOptions(name=name, engine=engine, **options)  # type: ignore[arg-type]
    return catalog.loader(wanted, folders.cached(name, cache))(CPU)


def vectors(model: Model, wanted: list[Output]) -> list[Vectors]:
    batch = [prepared.ids for prepared in model.prepare(TEXTS)]
    return [a for a in model.forward(batch, wanted, lambda: None) if isinstance(a, Vectors)]


def test_all_three_outputs_equal_the_packed_engines(cache: Path) -> None:
    wanted = [EVERY, Output.DENSE, EVERY, Output.SPARSE]
    both = [load(cache, "demo/bge-m3", engine) for engine in ("flagembedding", "packed")]
    assert both[0].card.engine == "flagembedding"
    assert both[0].card.fingerprint != both[1].card.fingerprint
    for theirs, ours in zip(*(vectors(model, wanted) for model in both), strict=True):
        for part in ("dense", "sparse_ids", "sparse_weights", "token_weights", "colbert"):
            one, other = getattr(theirs, part), getattr(ours, part)
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_allclose(one, other, atol=TOLERANCE)


def test_scores_equal_the_packed_engines(cache: Path) -> None:
    found = []
    for engine in ("flagembedding", "packed"):
        model = load(cache, "demo/bge-reranker-v2-m3", engine)
        batch = [pair.ids for pair in model.prepare_pairs("machine learning", TEXTS)]
        answers = model.forward(batch, [Output.SCORE] * len(batch), lambda: None)
        found.append([answer.score for answer in answers if isinstance(answer, Vectors)])
    np.testing.assert_allclose(*found, atol=TOLERANCE)


@pytest.mark.parametrize("options", [{"dtype": "int8"}, {"pooling": "mean"}])
def test_what_flagembedding_cannot_do_is_refused(cache: Path, options: dict[str, str]) -> None:
    with pytest.raises(ModelLoadFailed, match="flagembedding"):
        load(cache, "demo/bge-m3", "flagembedding", **options)
