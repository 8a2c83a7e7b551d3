"""Many texts as one row of tokens, with no padding. Knows nothing of what is computed on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring texts of equal length: they can be attended in one call, without a copy."""

    start: int
    texts: int
    length: int

    @property
    def tokens(self) -> slice:
        """Where its tokens stand in the pack."""
        return slice(self.start, self.start + self.texts * self.length)


@dataclass(frozen=True, slots=True)
class Pack:
    """The tokens of a batch one after another, in the order of its texts."""

    ids: torch.Tensor
    """int64, on the device."""
    positions: torch.Tensor
    """int64, from 0 within each text, on the device."""
    cu_seqlens: torch.Tensor
    """int32, where each text starts, and the end; on the device."""
    lengths: tuple[int, ...]
    starts: npt.NDArray[np.int64]
    """Where each text starts, on the host."""
    runs: tuple[Run, ...]

    @classmethod
    def of(cls, batch: Sequence[npt.NDArray[np.int32]], device: torch.device) -> Self:
        """Pack texts that have at least one token each; the order stays."""
        lengths = np.array([len(ids) for ids in batch], np.int64)
        ends = np.cumsum(lengths)
        starts = ends - lengths
        positions = np.arange(ends[-1]) - np.repeat(starts, lengths)
        cu_seqlens = np.concatenate([starts, ends[-1:]]).astype(np.int32)
        return cls(
            torch.from_numpy(np.concatenate(batch).astype(np.int64)).to(device),
            torch.from_numpy(positions).to(device),
            torch.from_numpy(cu_seqlens).to(device),
            tuple(lengths.tolist()),
            starts,
            _runs(lengths.tolist()),
        )

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return max(self.lengths)

    @property
    def first(self) -> torch.Tensor:
        """Where the first token of every text stands."""
        return self.cu_seqlens[:-1].long()

    @property
    def last(self) -> torch.Tensor:
        """Where the last token of every text stands."""
        return self.cu_seqlens[1:].long() - 1


def _runs(lengths: Sequence[int]) -> tuple[Run, ...]:
    runs: list[Run] = []
    at = 0
    for length in lengths:
        if runs and runs[-1].length == length:
            runs[-1] = Run(runs[-1].start, runs[-1].texts + 1, length)
        else:
            runs.append(Run(at, 1, length))
        at += length
    return tuple(runs)
