"""Qwen3-Reranker equals its model card's recipe, and its prompt always ends as it must."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smart_embedder.errors import InvalidInput
from smart_embedder.models import qwen3_reranker
from smart_embedder.models.model import Output, Truncation, Vectors
from smart_embedder.models.qwen3_reranker import BEGIN, END, INSTRUCTION, Qwen3Reranker
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device

pytestmark = pytest.mark.timeout(300)  # importing other people's libraries, on a busy machine

CPU = Device("cpu", 0, "cpu")
TOLERANCE = 1e-4
MAX_TOKENS = 220
QUERY = "What is the capital of China?"
PASSAGES = ["Beijing.", "", "Gravity is a force. " * 60, "猫 🐈", "no yes no"]

Tensors = dict[str, torch.Tensor]
Write = Callable[..., Path]
Ask = Callable[..., dict[str, np.ndarray[Any, Any]]]
Scores = np.ndarray[Any, Any]


def load(folder: Path, **options: Any) -> Qwen3Reranker:
    return qwen3_reranker.load(folder, ModelOptions(name="tiny", **options), CPU)


def score(model: Qwen3Reranker, **options: Any) -> Scores:
    batch = [prepared.ids for prepared in model.prepare_pairs(QUERY, PASSAGES, **options)]
    answers = model.forward(batch, [Output.SCORE] * len(batch), lambda: None)
    return np.array([answer.score for answer in answers if isinstance(answer, Vectors)])


def ask(ask_card: Ask, folder: Path, instruction: str) -> dict[str, Scores]:
    return ask_card(
        "qwen3_scores",
        folder,
        query=QUERY,
        passages=PASSAGES,
        instruction=instruction,
        max_tokens=MAX_TOKENS,
    )


@pytest.fixture(scope="module")
def folder(write_qwen3_reranker: Write) -> Path:
    return write_qwen3_reranker()


@pytest.fixture(scope="module")
def card(folder: Path, ask_card: Ask) -> dict[str, Scores]:
    return ask(ask_card, folder, INSTRUCTION)


def test_scores_equal_the_model_card(folder: Path, card: dict[str, Scores]) -> None:
    margins = score(load(folder, max_tokens=MAX_TOKENS))
    np.testing.assert_allclose(margins, card["margin"], atol=TOLERANCE)
    np.testing.assert_allclose(1 / (1 + np.exp(-margins)), card["likely"], atol=TOLERANCE)


def test_the_prompt_and_the_query_are_computed_once_for_all_passages(folder: Path) -> None:
    model = load(folder)
    passages = [f"passage {number}" for number in range(10)]
    batch = [prepared.ids for prepared in model.prepare_pairs(QUERY, passages)]
    with torch.profiler.profile(record_shapes=True) as profile:
        model.forward(batch, [Output.SCORE] * len(batch), lambda: None)
    events = profile.events() or []
    [[_, [computed], *_]] = [event.input_shapes for event in events if "embedding" in event.name]
    assert computed < sum(map(len, batch)) / 3


def test_an_instruction_of_the_request_is_followed_with_untied_answers(
    write_qwen3_reranker: Write, ask_card: Ask
) -> None:
    folder = write_qwen3_reranker(tied=False)
    margins = score(load(folder, max_tokens=MAX_TOKENS), instruction="Find the animal")
    expected = ask(ask_card, folder, "Find the animal")["margin"]
    np.testing.assert_allclose(margins, expected, atol=TOLERANCE)


@pytest.mark.parametrize(
    "tensor", ["model.layers.2.self_attn.q_proj.weight", "model.embed_tokens.weight"]
)
def test_the_comparison_notices_a_perturbed_weight(
    write_qwen3_reranker: Write, card: dict[str, Scores], tensor: str
) -> None:
    def perturb(tensors: Tensors) -> None:
        tensors[tensor] *= 1 + 0.01 * torch.randn_like(tensors[tensor])

    found = score(load(write_qwen3_reranker(perturb), max_tokens=MAX_TOKENS))
    assert np.abs(found - card["margin"]).max() > TOLERANCE


def test_the_prompt_is_the_one_the_model_was_trained_on(folder: Path) -> None:
    model = load(folder)
    (prepared,) = model.prepare_pairs("q", ["d"], instruction="i")
    body = "<Instruct>: i\n<Query>: q\n<Document>: d"
    assert model.decode(prepared.ids.tolist(), skip_special=False) == BEGIN + body + END


def test_a_long_passage_is_cut_and_the_end_of_the_prompt_stays(folder: Path) -> None:
    model = load(folder, max_tokens=150)
    (prepared,) = model.prepare_pairs("q", ["gravity " * 300])
    assert len(prepared.ids) == 150
    assert model.decode(prepared.ids.tolist(), skip_special=False).endswith(END)
    (cut,) = prepared.truncations
    assert (cut.part, cut.side, cut.kept) == ("passage", "end", 150)


def test_a_long_passage_may_lose_its_beginning(folder: Path) -> None:
    model = load(folder, max_tokens=150)
    passage = "apple " + "gravity " * 300 + "falls"
    (prepared,) = model.prepare_pairs("what falls?", [passage], side="start")
    assert len(prepared.ids) == 150
    text = model.decode(prepared.ids.tolist(), skip_special=False)
    assert text.startswith(BEGIN + f"<Instruct>: {INSTRUCTION}\n<Query>: what falls?\n<Document>:")
    assert text.endswith("gravity falls" + END)
    assert "apple" not in text
    (cut,) = prepared.truncations
    whole = load(folder).prepare_pairs("what falls?", [passage])[0]
    assert (cut.part, cut.side, cut.kept, cut.original) == ("passage", "start", 150, len(whole.ids))


def test_a_query_without_end_leaves_room_for_the_passage(folder: Path) -> None:
    model = load(folder, max_tokens=400)
    (prepared,) = model.prepare_pairs("gravity " * 500, ["the apple falls"])
    text = model.decode(prepared.ids.tolist(), skip_special=False)
    assert "\n<Document>: the apple falls" in text
    assert text.endswith(END)
    (cut,) = prepared.truncations
    assert (cut.part, cut.kept) == ("query", 300)
    assert isinstance(cut, Truncation)


def test_a_limit_below_the_template_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="max_tokens"):
        load(folder).prepare_pairs("q", ["d"], max_tokens=20)


def test_a_lone_surrogate_names_the_passage_or_the_query(folder: Path) -> None:
    model = load(folder)
    with pytest.raises(InvalidInput) as passage:
        model.prepare_pairs("q", ["fine", "\ud800"])
    assert (passage.value.field, passage.value.index) == ("passages", 1)
    with pytest.raises(InvalidInput) as query:
        model.prepare_pairs("\ud800", ["fine"])
    assert query.value.field == "query"


def test_its_scores_are_probabilities_when_normalised(folder: Path) -> None:
    assert load(folder).card.probabilities
