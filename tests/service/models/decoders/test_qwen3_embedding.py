"""Qwen3-Embedding equals its model card's recipe, for short texts and cut ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smart_embedder.errors import ModelLoadFailed
from smart_embedder.models import qwen3_embedding
from smart_embedder.models.dense import DenseModel
from smart_embedder.models.model import Output, Vectors
from smart_embedder.models.qwen3_embedding import END, instructed
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device

pytestmark = pytest.mark.timeout(300)  # importing other people's libraries, on a busy machine

CPU = Device("cpu", 0, "cpu")
TOLERANCE = 1e-4
MAX_TOKENS = 40
TEXTS = [
    "What is the capital of China?",
    "",
    "gravity " * 60,
    "ὦ ξεῖν, 猫 🐈 \x00",
    instructed("Find the answer") + "why is the sky blue",
]

Tensors = dict[str, torch.Tensor]
Write = Callable[..., Path]
Matrix = np.ndarray[Any, Any]


def load(folder: Path, **options: Any) -> DenseModel:
    return qwen3_embedding.load(folder, ModelOptions(name="tiny", **options), CPU)


def embed(model: DenseModel, texts: list[str], **options: Any) -> Matrix:
    batch = [prepared.ids for prepared in model.prepare(texts, **options)]
    answers = model.forward(batch, [Output.DENSE] * len(batch), lambda: None)
    vectors = np.array([answer.dense for answer in answers if isinstance(answer, Vectors)])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def folder(write_qwen3_embedding: Write) -> Path:
    return write_qwen3_embedding()


@pytest.fixture(scope="module")
def card(folder: Path, ask_card: Callable[..., dict[str, Matrix]]) -> Matrix:
    return ask_card("qwen3_vectors", folder, texts=TEXTS, max_tokens=MAX_TOKENS)["dense"]


def test_the_card_names_the_prompts_of_the_folder_and_sets_none_by_itself(
    write_qwen3_embedding: Write,
) -> None:
    folder = write_qwen3_embedding()
    assert load(folder).card.prompts == {}
    prompts = {"query": instructed("Find the answer"), "document": ""}
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    model = load(folder)
    assert model.card.prompts == prompts
    bare, prompted = model.prepare(["sky"])[0], model.prepare([prompts["query"] + "sky"])[0]
    assert len(bare.ids) < len(prompted.ids)


def test_vectors_equal_the_model_card(folder: Path, card: Matrix) -> None:
    np.testing.assert_allclose(
        embed(load(folder, max_tokens=MAX_TOKENS), TEXTS), card, atol=TOLERANCE
    )


@pytest.mark.parametrize(
    "tensor",
    [
        "embed_tokens.weight",
        "layers.0.self_attn.k_norm.weight",
        "layers.1.mlp.up_proj.weight",
        "norm.weight",
    ],
)
def test_the_comparison_notices_a_perturbed_weight(
    write_qwen3_embedding: Write, card: Matrix, tensor: str
) -> None:
    def perturb(tensors: Tensors) -> None:
        tensors[tensor] *= 1 + 0.01 * torch.randn_like(tensors[tensor])

    found = embed(load(write_qwen3_embedding(perturb), max_tokens=MAX_TOKENS), TEXTS)
    assert np.abs(found - card).max() > TOLERANCE


def test_a_cut_text_still_ends_with_the_token_that_is_pooled(folder: Path) -> None:
    model = load(folder)
    end = model.prepare([""])[0].ids
    for side in ("end", "start"):
        (prepared,) = model.prepare(["gravity " * 60], max_tokens=9, side=side)
        assert len(prepared.ids) == 9
        assert prepared.ids[-1] == end[-1]
        assert prepared.truncations[0].kept == 9


def test_the_closing_token_is_added_where_the_file_forgot_it(
    folder: Path, tmp_path: Path, write_qwen3_reranker: Write
) -> None:
    # A reranker's tokenizer is the same one without the closing template.
    bare = write_qwen3_reranker() / "tokenizer.json"
    copy = tmp_path / "model"
    copy.mkdir()
    for path in folder.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    (copy / "tokenizer.json").write_bytes(bare.read_bytes())
    np.testing.assert_array_equal(
        load(copy).prepare(["a"])[0].ids, load(folder).prepare(["a"])[0].ids
    )


def test_an_instruction_is_written_without_a_blank_after_query() -> None:
    assert instructed("Do it") == "Instruct: Do it\nQuery:"
    assert END == "<|endoftext|>"


def test_a_prompt_equals_the_same_words_in_the_text(folder: Path) -> None:
    model = load(folder)
    prompt = instructed("Find the answer")
    np.testing.assert_allclose(
        embed(model, ["why is the sky blue"], prompt=prompt),
        embed(model, [prompt + "why is the sky blue"]),
        atol=1e-6,
    )


def test_float16_is_refused_because_the_family_overflows_it(folder: Path) -> None:
    with pytest.raises(ModelLoadFailed, match="float16"):
        load(folder, dtype="float16")


def test_vectors_may_be_cut(folder: Path) -> None:
    card = load(folder).card
    assert card.matryoshka
    assert (card.family, card.pooling, card.outputs) == ("qwen3-embedding", "last", Output.DENSE)


def test_stretched_positions_are_refused(folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = (folder / "config.json").read_text()
    stretched = '"rope_scaling": {"rope_type": "yarn", "factor": 4.0}, "rope_theta"'
    (tmp_path / "config.json").write_text(config.replace('"rope_theta"', stretched))
    with pytest.raises(ModelLoadFailed, match="stretched"):
        load(tmp_path)
