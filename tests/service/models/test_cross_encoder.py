"""XLM-R cross-encoders equal FlagEmbedding and transformers, for short pairs and over-long ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smart_embedder.errors import InvalidInput, ModelLoadFailed, NonFiniteOutput
from smart_embedder.models import cross_encoder
from smart_embedder.models.model import Output, Truncation, Vectors
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device

CPU = Device("cpu", 0, "cpu")
TOLERANCE = 1e-4
QUERY = "what is a panda?"
# Left out, as the oracles do not treat them as a pair of the recipe: an empty passage (transformers
# drops it with its separators) and unknown signs (FlagEmbedding 1.4 spells their ids out again).
PASSAGES = ["hi", "the giant panda is a bear", "?", "a long passage about bears " * 8]
LONG_QUERY = "a question that has no end " * 40
LONG_PASSAGE = "an answer that goes on and on " * 60

Tensors = dict[str, torch.Tensor]
Scores = np.ndarray[Any, Any]
Write = Callable[..., Path]
Ask = Callable[..., dict[str, Scores]]


def score(folder: Path, query: str, passages: list[str], **options: Any) -> Scores:
    model = cross_encoder.load(folder, ModelOptions(name="tiny", **options), CPU)
    batch = [prepared.ids for prepared in model.prepare_pairs(query, passages)]
    answers = model.forward(batch, [Output.SCORE] * len(batch), lambda: None)
    return np.array([answer.score for answer in answers if isinstance(answer, Vectors)], np.float32)


@pytest.fixture(scope="module")
def folder(write_cross_encoder: Write) -> Path:
    return write_cross_encoder()


@pytest.fixture(scope="module")
def transformers(folder: Path, ask_oracle: Ask) -> Scores:
    pairs = [[QUERY, passage] for passage in PASSAGES]
    return ask_oracle("scores_by_transformers", folder, pairs=pairs)["scores"]


@pytest.fixture(scope="module")
def flagembedding(folder: Path, ask_oracle: Ask) -> Scores:
    pairs = [[QUERY, passage] for passage in PASSAGES]
    pairs += [[query, LONG_PASSAGE] for query in (QUERY, LONG_QUERY)]
    return ask_oracle("scores_by_flagembedding", folder, pairs=pairs, max_tokens=128)["scores"]


def test_raw_logits_equal_transformers(folder: Path, transformers: Scores) -> None:
    np.testing.assert_allclose(score(folder, QUERY, PASSAGES), transformers, atol=TOLERANCE)


def test_raw_logits_equal_flagembedding_where_pairs_are_cut_too(
    folder: Path, flagembedding: Scores
) -> None:
    ours = [
        score(folder, QUERY, PASSAGES, max_tokens=128),
        score(folder, QUERY, [LONG_PASSAGE], max_tokens=128),
        score(folder, LONG_QUERY, [LONG_PASSAGE], max_tokens=128),
    ]
    np.testing.assert_allclose(np.concatenate(ours), flagembedding, atol=TOLERANCE)


@pytest.mark.parametrize(
    "tensor",
    [
        "roberta.encoder.layer.0.attention.self.value.weight",
        "classifier.dense.weight",
        "classifier.out_proj.bias",
    ],
)
def test_the_comparison_notices_a_perturbed_weight(
    write_cross_encoder: Write, transformers: Scores, tensor: str
) -> None:
    def perturb(tensors: Tensors) -> None:
        tensors[tensor] = tensors[tensor] * 1.02

    away = np.abs(score(write_cross_encoder(perturb), QUERY, PASSAGES) - transformers)
    assert away.max() > TOLERANCE


def test_the_query_is_kept_and_the_passage_cut_from_its_end(folder: Path) -> None:
    model = cross_encoder.load(folder, ModelOptions(name="tiny", max_tokens=128), CPU)
    [whole] = model.prepare_pairs(QUERY, ["x"])
    [cut] = model.prepare_pairs(QUERY, [LONG_PASSAGE])
    query_tokens = whole.ids.tolist().index(2)
    np.testing.assert_array_equal(cut.ids[:query_tokens], whole.ids[:query_tokens])
    [truncation] = cut.truncations
    assert isinstance(truncation, Truncation)
    assert (len(cut.ids), truncation.part, truncation.side) == (128, "passage", "end")


def test_both_heads_of_the_architecture_are_known(write_cross_encoder: Write, folder: Path) -> None:
    def rename(tensors: Tensors) -> None:
        for kind in ("weight", "bias"):
            dense = tensors.pop(f"classifier.dense.{kind}")
            tensors[f"roberta.pooler.dense.{kind}"] = dense
            tensors[f"classifier.{kind}"] = tensors.pop(f"classifier.out_proj.{kind}")

    own = score(folder, QUERY, PASSAGES)
    np.testing.assert_array_equal(score(write_cross_encoder(rename), QUERY, PASSAGES), own)


def test_a_classifier_with_several_labels_is_no_reranker(write_cross_encoder: Write) -> None:
    def widen(tensors: Tensors) -> None:
        for kind in ("weight", "bias"):
            name = f"classifier.out_proj.{kind}"
            tensors[name] = torch.cat([tensors[name]] * 3)

    with pytest.raises(ModelLoadFailed, match="one label"):
        cross_encoder.load(write_cross_encoder(widen), ModelOptions(name="tiny"), CPU)


def test_a_pair_with_non_finite_numbers_fails_alone(write_cross_encoder: Write) -> None:
    def poison(tensors: Tensors) -> None:
        tensors["roberta.embeddings.word_embeddings.weight"][30] = torch.inf

    model = cross_encoder.load(write_cross_encoder(poison), ModelOptions(name="tiny"), CPU)
    batch = [np.array(ids, np.int32) for ids in ([0, 5, 2, 2, 6, 2], [0, 30, 2, 2, 6, 2])]
    good, bad = model.forward(batch, [Output.SCORE] * 2, lambda: None)
    assert isinstance(good, Vectors)
    assert isinstance(bad, NonFiniteOutput)


def test_it_embeds_nothing_and_takes_no_instruction(folder: Path) -> None:
    model = cross_encoder.load(folder, ModelOptions(name="tiny"), CPU)
    with pytest.raises(InvalidInput, match="reranks only"):
        model.prepare(["a text"])
    with pytest.raises(InvalidInput, match="no instruction"):
        model.prepare_pairs("q", ["p"], instruction="judge")
