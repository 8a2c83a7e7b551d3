"""The feed-forward block of an encoder layer with its residual: widen, GELU, narrow, add.

What lies between the two products is four times as wide as what goes in: in int8, where the passes
over it are separate, it is made some rows at a time.
"""

import math
from functools import partial

import torch

from smart_embedder.runtime.devices import INT8, Device
from smart_embedder.runtime.linear import make_linear

_ROWS = 512
"""Rows at a time in int8.

What lies between takes 8 MB: a cache holds it and so does the heap, where 4,722 rows at once are
77 MB of new pages at every call, 1.7 times the time; even 1,144 rows take 1.2 times it.
"""


class FeedForward:
    """Both products of the block."""

    def __init__(
        self,
        widen: tuple[torch.Tensor, torch.Tensor],
        narrow: tuple[torch.Tensor, torch.Tensor],
        *,
        dtype: torch.dtype,
        device: Device,
        settles: bool = False,
    ) -> None:
        linear = partial(make_linear, dtype=dtype, device=device, settles=settles)
        self._widen = linear(*widen, gelu=True)
        self._narrow = linear(*narrow)
        self._rows = _ROWS if dtype == INT8 else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Give x plus what the block makes of it."""
        if self._rows is None or len(x) <= self._rows:
            return self._added(x)
        blocks = x.tensor_split(math.ceil(len(x) / self._rows))
        return torch.cat([self._added(rows) for rows in blocks])

    def _added(self, x: torch.Tensor) -> torch.Tensor:
        return self._narrow(self._widen(x), x)
