"""A pass names a lack of memory, and what is not finite gets one more try and harms nobody."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from smart_embedder.errors import EmbedderError, NonFiniteOutput, OutOfMemory
from smart_embedder.runtime.guard import finite_texts, run_guarded


def test_equal_lengths_run_together_and_answers_come_back_in_order() -> None:
    seen: list[list[int]] = []

    def run(chosen: list[int], _dtype: torch.dtype) -> Sequence[str]:
        seen.append(chosen)
        return [f"text {index}" for index in chosen]

    answers = run_guarded([7, 3, 7, 3], run, torch.float32)
    assert seen == [[1, 3, 0, 2]]
    assert answers == ["text 0", "text 1", "text 2", "text 3"]


def test_a_text_that_overflows_half_precision_is_computed_again_in_fp32() -> None:
    tries: list[tuple[list[int], torch.dtype]] = []

    def run(chosen: list[int], dtype: torch.dtype) -> Sequence[str | None]:
        tries.append((chosen, dtype))
        wide = dtype == torch.float32
        return ["fine" if wide or index != 1 else None for index in chosen]

    assert run_guarded([1, 2, 3], run, torch.float16) == ["fine"] * 3
    assert tries == [([0, 1, 2], torch.float16), ([1], torch.float32)]


def test_a_text_that_is_not_finite_in_fp32_fails_alone_and_is_not_tried_again() -> None:
    tries: list[list[int]] = []

    def run(chosen: list[int], _dtype: torch.dtype) -> Sequence[str | None]:
        tries.append(chosen)
        return [None if index == 1 else "fine" for index in chosen]

    first, second = run_guarded([1, 1], run, torch.float32)
    assert first == "fine"
    assert isinstance(second, NonFiniteOutput)
    assert second.index == 1
    assert len(tries) == 1


def raising(error: Exception) -> list[str | EmbedderError]:
    def run(_chosen: list[int], _dtype: torch.dtype) -> Sequence[str | None]:
        raise error

    return run_guarded([40, 2], run, torch.float32)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"),
        MemoryError(),
    ],
)
def test_every_allocators_refusal_is_out_of_memory(error: Exception) -> None:
    with pytest.raises(OutOfMemory, match="42 tokens"):
        raising(error)


def test_the_real_allocator_is_understood() -> None:
    def run(_chosen: list[int], _dtype: torch.dtype) -> Sequence[str | None]:
        torch.empty(1 << 60, dtype=torch.uint8)
        return []

    with pytest.raises(OutOfMemory):
        run_guarded([1], run, torch.float32)


def test_another_error_is_left_as_it_is() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        raising(RuntimeError("shapes do not match"))


def test_one_bad_row_marks_its_text_only() -> None:
    rows = np.ones((5, 2), np.float32)
    rows[2, 1] = np.nan
    owners = np.array([0, 0, 1, 1, 2])
    assert finite_texts(4, rows, owners).tolist() == [True, False, True, True]
