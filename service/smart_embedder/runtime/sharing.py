"""Beginnings that texts of a pack have in common, computed once.

Where a token sees only those before it, its state depends on nothing else: passages behind one
prompt and one query have equal states as far as they are equal. The products, which cost most, run
on the distinct states; attention still reads whole texts, so its numbers stay as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from smart_embedder.runtime.packing import Pack

_PAYS = 0.9
"""Distinct states for each token up to which sharing pays: its copies cost about a twentieth."""

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Pack], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Sharing:
    """Which tokens of a pack have one state."""

    kept: torch.Tensor
    """For each distinct state a token that has it; int64, on the device."""
    spread: torch.Tensor
    """For each token of the pack its state; int64, on the device."""

    @classmethod
    def of(cls, pack: Pack) -> Self | None:
        """Find what the texts share; None where it would not pay."""
        ids = pack.ids.cpu().numpy()
        states = _states(np.split(ids, pack.starts[1:]))
        spread = np.concatenate(states)
        distinct, kept = np.unique(spread, return_index=True)
        if len(distinct) > len(ids) * _PAYS:
            return None
        device = pack.ids.device
        return cls(torch.from_numpy(kept).to(device), torch.from_numpy(spread).to(device))

    def attend(
        self, attend: Attend, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, pack: Pack
    ) -> torch.Tensor:
        """Attend whole texts, and give the distinct results."""
        return attend(q[self.spread], k[self.spread], v[self.spread], pack)[self.kept]


def _states(texts: list[npt.NDArray[np.int64]]) -> list[npt.NDArray[np.int64]]:
    """Number the distinct beginnings of the texts; every token gets that of the one it ends."""
    # In the order of a dictionary, a text shares most with its neighbour.
    order = sorted(range(len(texts)), key=lambda index: texts[index].astype(">u4").tobytes())
    found = {order[0]: np.arange(len(texts[order[0]]))}
    made = len(texts[order[0]])
    for before, index in pairwise(order):
        common = _common(texts[before], texts[index])
        more = len(texts[index]) - common
        found[index] = np.concatenate([found[before][:common], np.arange(made, made + more)])
        made += more
    return [found[index] for index in range(len(texts))]


def _common(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> int:
    """Count the tokens that both begin with."""
    length = min(len(one), len(other))
    differ = np.flatnonzero(one[:length] != other[:length])
    return int(differ[0]) if len(differ) else length
