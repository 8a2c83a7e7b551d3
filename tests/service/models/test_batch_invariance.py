"""A text's vectors are its own: batch mates change them by rounding at most."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smart_embedder.models import bge_m3, cross_encoder
from smart_embedder.models.model import Ids, Model, Output, Vectors
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device

CPU = Device("cpu", 0, "cpu")
ALL = Output.DENSE | Output.SPARSE | Output.COLBERT
NEAR = 1e-5

texts = st.lists(st.tuples(st.integers(2, 90), st.integers(0, 2**32 - 1)), min_size=1, max_size=12)
patiently = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def ids_of(length: int, seed: int) -> Ids:
    """A text of this length: `<s>`, some tokens, `</s>`."""
    inner = np.random.default_rng(seed).integers(4, 170, length - 2)
    return np.concatenate([[0], inner, [2]]).astype(np.int32)


def run(model: Model, batch: list[Ids], wanted: Output) -> list[Vectors]:
    answers = model.forward(batch, [wanted] * len(batch), lambda: None)
    assert all(isinstance(answer, Vectors) for answer in answers)
    return [answer for answer in answers if isinstance(answer, Vectors)]


def assert_near(one: Vectors, other: Vectors, near: float) -> None:
    assert one.dense is not None
    assert one.colbert is not None
    weights = [np.zeros(200, np.float32), np.zeros(200, np.float32)]
    for vectors, row in zip((one, other), weights, strict=True):
        row[vectors.sparse_ids] = vectors.sparse_weights
    np.testing.assert_allclose(*weights, atol=near, rtol=0)
    np.testing.assert_allclose(one.dense, other.dense, atol=near, rtol=0)  # type: ignore[arg-type] - both have it
    np.testing.assert_allclose(one.colbert, other.colbert, atol=near, rtol=0)  # type: ignore[arg-type] - both have it


@pytest.fixture(scope="module")
def embedders(write_bge_m3: Callable[..., Path]) -> Callable[[str], Model]:
    folder = write_bge_m3()

    @cache
    def load(dtype: str) -> Model:
        return bge_m3.load(folder, ModelOptions(name="tiny", dtype=dtype), CPU)

    return load


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@patiently
@given(texts)
def test_a_text_alone_and_in_any_batch_has_the_same_vectors(
    embedders: Callable[[str], Model], dtype: str, drawn: list[tuple[int, int]]
) -> None:
    model = embedders(dtype)
    batch = [ids_of(*facts) for facts in drawn]
    together = run(model, batch, ALL)
    for ids, mixed in zip(batch, together, strict=True):
        [alone] = run(model, [ids], ALL)
        # int8 rounds: what fp32 moves by a hair may fall to the next of 255 steps.
        assert_near(mixed, alone, NEAR if dtype == "float32" else 0.05)


@patiently
@given(texts)
def test_a_pair_alone_and_in_any_batch_has_the_same_score(
    reranker: Model, drawn: list[tuple[int, int]]
) -> None:
    batch = [ids_of(*facts) for facts in drawn]
    together: list[Any] = [answer.score for answer in run(reranker, batch, Output.SCORE)]
    alone: list[Any] = [run(reranker, [ids], Output.SCORE)[0].score for ids in batch]
    np.testing.assert_allclose(together, alone, atol=NEAR, rtol=0)


@pytest.fixture(scope="module")
def reranker(write_cross_encoder: Callable[..., Path]) -> Model:
    return cross_encoder.load(write_cross_encoder(), ModelOptions(name="tiny"), CPU)


def test_equal_texts_in_one_batch_have_equal_vectors(embedders: Callable[[str], Model]) -> None:
    model, ids = embedders("float32"), ids_of(20, 1)
    first, *_, last = run(model, [ids, ids_of(33, 2), ids_of(20, 3), ids], ALL)
    assert_near(first, last, NEAR)
