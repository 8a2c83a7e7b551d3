"""Whatever text comes: its own vector or a refusal by its index, whoever stands beside it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smart_embedder.errors import InvalidInput
from smart_embedder.models import catalog
from smart_embedder.models.demo import folders
from smart_embedder.models.model import Model, Output, Prepared, Vectors
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device

CPU = Device("cpu", 0, "cpu")
TOLERANCE = 1e-5
ODD = [
    "", " ", "\n\t\u3000", "x", "\x00", "a\x00b", "</s>", "<|endoftext|><|im_start|>",
    "<s><pad></s><unk><mask>", "\u202e\u05e9\u05dc مرحبا", "e\u0301\u0301\u0301",
    "\U0001f469\u200d\U0001f680",
    "\U0010ffff", "\ue000", "\ufeff", "猫" * 50, "same", "same", "word " * 700,
    "a" * 200_000,
]  # fmt: skip
TEXT = st.text(st.characters(categories=None, codec=None), max_size=30)


@pytest.fixture(scope="module", params=folders.names())
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder: Path = folders.cached(request.param, tmp_path_factory.mktemp("models"))
    return catalog.loader(ModelOptions(name=request.param, max_tokens=256), folder)(CPU)


def read(model: Model, texts: list[str]) -> list[Prepared]:
    """Prepare texts as the model takes them: to embed, or as passages to rank."""
    if Output.SCORE in model.card.outputs:
        return model.prepare_pairs("what?", texts)
    return model.prepare(texts)


def numbers(
    model: Model, batch: list[Prepared]
) -> list[np.ndarray[tuple[int], np.dtype[np.float32]]]:
    """Everything that came out, in one row for each text."""
    wanted = [model.card.outputs] * len(batch)
    answers = model.forward([prepared.ids for prepared in batch], wanted, lambda: None)
    assert all(isinstance(answer, Vectors) for answer in answers)
    rows = []
    for answer in answers:
        assert isinstance(answer, Vectors)
        parts = (answer.dense, answer.sparse_ids, answer.sparse_weights, answer.colbert)
        flat = [np.ravel(part) for part in parts if part is not None]
        flat += [np.array([answer.score])] if answer.score is not None else []
        rows.append(np.concatenate(flat).astype(np.float32))
    return rows


def test_odd_texts_get_the_vectors_they_get_alone(model: Model) -> None:
    together = read(model, ODD)
    found = numbers(model, together)
    for text, prepared, row in zip(ODD, together, found, strict=True):
        (alone,) = numbers(model, [prepared])
        assert np.isfinite(row).all()
        scale = max(1.0, float(np.abs(alone).max()))
        np.testing.assert_allclose(row, alone, atol=TOLERANCE * scale, err_msg=repr(text[:20]))


@given(texts=st.lists(TEXT, min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_any_texts_give_finite_numbers_or_name_the_broken_one(
    model: Model, texts: list[str]
) -> None:
    broken = [i for i, text in enumerate(texts) if any("\ud800" <= c <= "\udfff" for c in text)]
    if broken:
        with pytest.raises(InvalidInput) as refused:
            read(model, texts)
        assert refused.value.index == broken[0]
        return
    rows = numbers(model, read(model, texts))
    assert len(rows) == len(texts)
    assert all(np.isfinite(row).all() for row in rows)
