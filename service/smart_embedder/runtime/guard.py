"""One forward pass over some texts, kept from harming others.

It brings equal lengths together, names a lack of memory as such, computes what came out NaN or
infinite once more in fp32, and puts the answers back in the order of the texts.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from smart_embedder.errors import EmbedderError, NonFiniteOutput, OutOfMemory

Answer = TypeVar("Answer")
Pass = Callable[[list[int], torch.dtype], Sequence[Answer | None]]
"""Computes the texts of these indices in this dtype; None stands for one that is not finite."""

_CPU_ALLOCATOR = ("can't allocate memory", "not enough memory")
"""What torch's CPU allocator says, in a plain RuntimeError, on Linux and on Windows."""


def run_guarded(
    lengths: Sequence[int], run: Pass[Answer], dtype: torch.dtype
) -> list[Answer | EmbedderError]:
    """Run one pass over texts of these lengths; the answers come in the order of the texts."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    with _out_of_memory_named(sum(lengths)), torch.inference_mode():
        found = dict(zip(order, run(order, dtype), strict=True))
        broken = [index for index in order if found[index] is None]
        if broken and dtype != torch.float32:
            found |= zip(broken, run(broken, torch.float32), strict=True)
    return [_answer(found[index], index) for index in range(len(lengths))]


def _answer(found: Answer | None, index: int) -> Answer | EmbedderError:
    if found is None:
        return NonFiniteOutput("the model gives NaN or infinity for this text", index=index)
    return found


@contextmanager
def _out_of_memory_named(tokens: int) -> Iterator[None]:
    """Turn any allocator's refusal into `OutOfMemory`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        torch.cuda.empty_cache()  # does nothing where CUDA was never used
        raise OutOfMemory(f"a pass of {tokens} tokens does not fit", value=tokens) from error


def _is_out_of_memory(error: Exception) -> bool:
    known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return known or any(words in str(error) for words in _CPU_ALLOCATOR)


def finite_texts(
    texts: int, rows: npt.NDArray[np.float32], owners: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Say for each text whether all rows that belong to it are finite."""
    finite = np.ones(texts, np.bool_)
    finite[owners[~np.isfinite(rows).reshape(len(rows), -1).all(axis=1)]] = False
    return finite
