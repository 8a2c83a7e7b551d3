"""EmbeddingGemma's layout equals sentence-transformers: windows, dense layers, prompts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smart_embedder.models import sentence_transformer
from smart_embedder.models.model import Output, Vectors
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device

pytestmark = pytest.mark.timeout(300)  # importing other people's libraries, on a busy machine

CPU = Device("cpu", 0, "cpu")
TOLERANCE = 1e-4
TEXTS = ["the cat sat", "", "a river that is wider than its window of sixteen tokens " * 4, "x"]
QUERY = "task: search | query: "

Matrix = np.ndarray[Any, Any]
Write = Callable[..., Path]
Ask = Callable[..., dict[str, Matrix]]


def embed(folder: Path, prompt: str | None = None) -> Matrix:
    model = sentence_transformer.load(folder, ModelOptions(name="tiny"), CPU)
    batch = [prepared.ids for prepared in model.prepare(TEXTS, prompt=prompt)]
    answers = model.forward(batch, [Output.DENSE] * len(batch), lambda: None)
    vectors = np.array([answer.dense for answer in answers if isinstance(answer, Vectors)])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def folder(write_gemma: Write) -> Path:
    return write_gemma()


@pytest.fixture(scope="module")
def answered(folder: Path, ask_card: Ask) -> dict[str, Matrix]:
    return ask_card("sentence_vectors", folder, texts=TEXTS, prompts=[QUERY, None])


@pytest.fixture(scope="module")
def asked(answered: dict[str, Matrix]) -> Matrix:
    return answered["dense_0"]


def test_vectors_with_a_prompt_equal_sentence_transformers(folder: Path, asked: Matrix) -> None:
    np.testing.assert_allclose(embed(folder, QUERY), asked, atol=TOLERANCE)


def test_the_models_own_prompt_is_set_where_none_is_given(
    folder: Path, answered: dict[str, Matrix]
) -> None:
    np.testing.assert_allclose(embed(folder), answered["dense_1"], atol=TOLERANCE)


def test_the_card_names_the_prompts_that_the_folder_knows(folder: Path) -> None:
    written = json.loads((folder / "config_sentence_transformers.json").read_text())["prompts"]
    assert written
    card = sentence_transformer.load(folder, ModelOptions(name="tiny"), CPU).card
    assert card.prompts == written


@pytest.mark.parametrize(
    "tensor",
    ["layers.0.post_feedforward_layernorm.weight", "layers.3.self_attn.v_proj.weight"],
)
def test_the_comparison_notices_a_perturbed_weight(
    write_gemma: Write, asked: Matrix, tensor: str
) -> None:
    def perturb(tensors: dict[str, torch.Tensor]) -> None:
        tensors[tensor] += 0.02 * torch.randn_like(tensors[tensor])

    assert np.abs(embed(write_gemma(perturb), QUERY) - asked).max() > TOLERANCE


def test_the_comparison_notices_another_window(write_gemma: Write, asked: Matrix) -> None:
    folder = write_gemma()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sliding_window": 18}))
    assert np.abs(embed(folder, QUERY) - asked).max() > TOLERANCE
