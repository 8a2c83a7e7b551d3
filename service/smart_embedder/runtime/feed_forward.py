"""The feed-forward block of an encoder layer with its residual: widen, GELU, narrow, add."""

import torch

from smart_embedder.runtime.devices import Device
from smart_embedder.runtime.linear import Linear, fuses_residual, make_linear

_COLUMNS = 1024
"""Inner columns at a time where the residual is summed inside the product.

A sum of 4,096 products in one chain has an error of 5.8e-7 (rms, of results around 1), four sums of
1,024 one after the other 4.1e-7, in the same time: the columns in work stay in cache.
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
    ) -> None:
        inner = len(widen[1])
        step = _COLUMNS if fuses_residual(dtype, device) else inner

        def pair(start: int) -> tuple[Linear, Linear]:
            part = slice(start, start + step)
            wide = make_linear(
                widen[0][part], widen[1][part], dtype=dtype, device=device, gelu=True
            )
            bias = narrow[1] if start == 0 else None
            return wide, make_linear(
                narrow[0][:, part], bias, dtype=dtype, device=device, after_gelu=True
            )

        self._pairs = [pair(start) for start in range(0, inner, step)]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Give x plus what the block makes of it."""
        y = x
        for widen, narrow in self._pairs:
            y = narrow(widen(x), y)
        return y
