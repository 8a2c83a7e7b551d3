"""BGE-M3 equals FlagEmbedding and transformers, and its outputs mix freely."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smart_embedder.errors import InvalidInput, ModelLoadFailed, NonFiniteOutput
from smart_embedder.models import bge_m3
from smart_embedder.models.model import Output, Vectors
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device

CPU = Device("cpu", 0, "cpu")
ALL = Output.DENSE | Output.SPARSE | Output.COLBERT
TOLERANCE = 1e-4
TEXTS = [
    "what is bge m3?",
    "a",
    "the same words, the same words, the same words",
    "",
    "unknown ♞ signs",
    "a long text that goes on " * 12,
    "and one that is cut " * 60,
]

Answer = dict[str, np.ndarray[Any, Any]]
Write = Callable[..., Path]
Ask = Callable[..., Answer]


def embed(folder: Path, texts: list[str], **options: Any) -> list[Vectors]:
    model = bge_m3.load(folder, ModelOptions(name="tiny", **options), CPU)
    batch = [prepared.ids for prepared in model.prepare(texts)]
    answers = model.forward(batch, [ALL] * len(batch), lambda: None)
    assert all(isinstance(answer, Vectors) for answer in answers)
    return [answer for answer in answers if isinstance(answer, Vectors)]


@pytest.fixture(scope="module")
def folder(write_bge_m3: Write) -> Path:
    return write_bge_m3()


@pytest.fixture(scope="module")
def flagembedding(folder: Path, ask_oracle: Ask) -> Answer:
    return ask_oracle("bge_m3_by_flagembedding", folder, texts=TEXTS, max_tokens=512)


@pytest.fixture(scope="module")
def transformers(folder: Path, ask_oracle: Ask) -> Answer:
    return ask_oracle("hidden_by_transformers", folder, texts=TEXTS, max_tokens=512)


def unit(vector: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
    assert vector is not None
    unit_vector: np.ndarray[Any, Any] = vector / np.linalg.norm(vector, axis=-1, keepdims=True)
    return unit_vector


def distances(ours: list[Vectors], oracle: Answer) -> dict[str, float]:
    """How far each output is from the oracle's, at its worst; infinite where shapes differ."""
    worst = {"dense": 0.0, "sparse": 0.0, "colbert": 0.0}
    for index, vectors in enumerate(ours):
        pairs = {
            "dense": (unit(vectors.dense), oracle["dense"][index]),
            "sparse": (dense_weights(vectors), dense_weights_of(oracle, index)),
            "colbert": (vectors.colbert, oracle[f"colbert_{index}"]),
        }
        for name, (mine, theirs) in pairs.items():
            assert mine is not None
            away = np.abs(mine - theirs).max() if mine.shape == theirs.shape else np.inf
            worst[name] = max(worst[name], float(away))
    return worst


def dense_weights(vectors: Vectors) -> np.ndarray[Any, Any]:
    weights = np.zeros(1000, np.float32)
    weights[vectors.sparse_ids] = vectors.sparse_weights
    return weights


def dense_weights_of(oracle: Answer, index: int) -> np.ndarray[Any, Any]:
    weights = np.zeros(1000, np.float32)
    weights[oracle[f"sparse_ids_{index}"]] = oracle[f"sparse_weights_{index}"]
    return weights


def test_all_three_outputs_equal_flagembedding(folder: Path, flagembedding: Answer) -> None:
    worst = distances(embed(folder, TEXTS), flagembedding)
    assert max(worst.values()) <= TOLERANCE, worst


def test_dense_equals_transformers_before_normalisation(folder: Path, transformers: Answer) -> None:
    for index, vectors in enumerate(embed(folder, TEXTS)):
        assert vectors.dense is not None
        np.testing.assert_allclose(
            vectors.dense, transformers[f"hidden_{index}"][0], atol=TOLERANCE
        )


@pytest.mark.parametrize(
    ("pooling", "row"), [("last", lambda h: h[-1]), ("mean", lambda h: h.mean(axis=0))]
)
def test_a_forced_pooling_is_obeyed(
    folder: Path, transformers: Answer, pooling: str, row: Callable[[Any], Any]
) -> None:
    for index, vectors in enumerate(embed(folder, TEXTS, pooling=pooling)):
        assert vectors.dense is not None
        np.testing.assert_allclose(
            vectors.dense, row(transformers[f"hidden_{index}"]), atol=TOLERANCE
        )


@pytest.mark.parametrize(
    ("tensor", "noticed"),
    [
        ("encoder.layer.1.attention.self.key.weight", {"dense", "sparse", "colbert"}),
        ("encoder.layer.2.output.LayerNorm.bias", {"dense", "sparse", "colbert"}),
        ("embeddings.position_embeddings.weight", {"dense", "sparse", "colbert"}),
        ("sparse.bias", {"sparse"}),
        ("colbert.weight", {"colbert"}),
    ],
)
def test_the_comparison_notices_a_perturbed_weight(
    write_bge_m3: Write, flagembedding: Answer, tensor: str, noticed: set[str]
) -> None:
    def perturb(tensors: dict[str, torch.Tensor]) -> None:
        tensors[tensor] = tensors[tensor] * 1.02

    worst = distances(embed(write_bge_m3(perturb), TEXTS), flagembedding)
    assert {name for name, away in worst.items() if away > TOLERANCE} == noticed


def test_each_text_gets_the_outputs_it_wants_and_no_others(folder: Path) -> None:
    model = bge_m3.load(folder, ModelOptions(name="tiny"), CPU)
    batch = [prepared.ids for prepared in model.prepare(["one", "two words", "three more words"])]
    wanted = [Output.DENSE, Output.SPARSE | Output.COLBERT, Output.DENSE | Output.COLBERT]
    alone = [model.forward([ids], [ALL], lambda: None)[0] for ids in batch]
    mixed = model.forward(batch, wanted, lambda: None)
    for one, whole, outputs in zip(mixed, alone, wanted, strict=True):
        assert isinstance(one, Vectors)
        assert isinstance(whole, Vectors)
        for name, output in (
            ("dense", Output.DENSE), ("sparse_ids", Output.SPARSE),
            ("sparse_weights", Output.SPARSE), ("token_weights", Output.SPARSE),
            ("colbert", Output.COLBERT),
        ):  # fmt: skip
            if output in outputs:
                np.testing.assert_allclose(getattr(one, name), getattr(whole, name), atol=1e-5)
            else:
                assert getattr(one, name) is None


def test_special_tokens_have_no_lexical_weight(folder: Path) -> None:
    for vectors in embed(folder, TEXTS):
        assert vectors.sparse_ids is not None
        assert not np.isin(vectors.sparse_ids, [0, 1, 2, 3]).any()
        assert (np.diff(vectors.sparse_ids) > 0).all()


def test_each_token_has_its_own_weight_and_the_strongest_is_the_lexical_one(folder: Path) -> None:
    model = bge_m3.load(folder, ModelOptions(name="tiny"), CPU)
    for prepared, vectors in zip(model.prepare(TEXTS), embed(folder, TEXTS), strict=True):
        assert vectors.token_weights is not None
        strongest = np.zeros(1000, np.float32)
        np.maximum.at(strongest, prepared.ids[1:-1], vectors.token_weights)
        strongest[:4] = 0  # the unknown token has a weight and no place in a lexical vector
        np.testing.assert_array_equal(strongest, dense_weights(vectors))


def test_an_answer_does_not_keep_its_batch_alive(folder: Path) -> None:
    parts = ("dense", "sparse_ids", "sparse_weights", "token_weights", "colbert")
    for vectors in embed(folder, TEXTS):
        for array in (getattr(vectors, part) for part in parts):
            assert array is not None
            assert array.base is None


def test_the_checkpoint_is_called_between_layers_and_may_stop_the_pass(folder: Path) -> None:
    model = bge_m3.load(folder, ModelOptions(name="tiny"), CPU)
    [prepared] = model.prepare(["a text"])
    calls: list[None] = []

    def stop_at_the_third() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        model.forward([prepared.ids], [ALL], stop_at_the_third)
    assert len(calls) == 3


def test_a_text_with_non_finite_numbers_fails_alone(write_bge_m3: Write) -> None:
    def poison(tensors: dict[str, torch.Tensor]) -> None:
        tensors["embeddings.word_embeddings.weight"][30] = torch.nan

    model = bge_m3.load(write_bge_m3(poison), ModelOptions(name="tiny"), CPU)
    batch = [prepared.ids for prepared in model.prepare(["abc def", "ghi", "jkl"])]
    batch[1] = np.array([0, 30, 2], np.int32)
    good, bad, fine = model.forward(batch, [ALL] * 3, lambda: None)
    assert isinstance(good, Vectors)
    assert isinstance(fine, Vectors)
    assert isinstance(bad, NonFiniteOutput)
    assert bad.index == 1


def test_the_card_tells_what_the_vectors_depend_on(folder: Path) -> None:
    card = bge_m3.load(folder, ModelOptions(name="tiny", max_tokens=100), CPU).card
    assert (card.dtype, card.pooling, card.max_tokens, card.outputs) == ("float32", "cls", 100, ALL)
    assert len(card.revision) == 40


def test_a_missing_head_is_named(write_bge_m3: Write) -> None:
    broken = write_bge_m3()
    (broken / "sparse_linear.pt").unlink()
    with pytest.raises(ModelLoadFailed, match=r"sparse_linear\.pt"):
        bge_m3.load(broken, ModelOptions(name="tiny"), CPU)


def test_it_does_not_rerank(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="does not rerank"):
        bge_m3.load(folder, ModelOptions(name="tiny"), CPU).prepare_pairs("q", ["p"])
