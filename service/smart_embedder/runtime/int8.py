"""The product in int8: bytes times bytes, one range a token and one scale for each row of weights.

A range of its own for each token keeps a text's vector independent of its batch mates. Where there
are no kernels, the same is computed slowly, and differs by no more than ties and last digits.
Whoever changes the numbers raises `RECIPES` in `models.model`: vectors of two recipes must not be
compared.
"""

import torch
from torch.nn import functional

from smart_embedder.runtime.kernels import Kernels

_TINY = torch.finfo(torch.float32).tiny


class Int8Linear:
    """int8 weights, activations in 8 bits.

    Rounding the weights moves the result of every token alike by what was rounded off times what
    all tokens have in common, and post-norm encoders may give theirs much in common. A linear that
    settles takes that back: its bias is corrected by the mean of the rows that first come in.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        kernels: Kernels | None,
        *,
        gelu: bool,
        settles: bool = False,
    ) -> None:
        weight = weight.float()
        scales = (weight.abs().amax(dim=1, keepdim=True) / 127).clamp_min_(_TINY)
        rounded = torch.round(weight / scales).to(torch.int8)
        # What a row's lowest value is counts for every column: it is multiplied once, not in bytes.
        sums = (rounded * scales).sum(dim=1)
        # Settling changes it in place, where the kernel reads it: not the checkpoint's own.
        self._bias = weight.new_zeros(len(weight)) if bias is None else bias.float().clone()
        self._rounded_off = weight - rounded * scales if settles else None
        fixed = (rounded, self._bias, scales.flatten(), sums)
        self._product = (
            kernels.product_of_bytes(*fixed, gelu=gelu)
            if kernels
            else _SlowProduct(*fixed, gelu=gelu)
        )

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """Quantise each row, multiply, scale back."""
        if self._rounded_off is not None:
            self._bias += self._rounded_off @ x.mean(dim=0)
            self._rounded_off = None
        return self._product(x, residual)


class _SlowProduct:
    """What the kernel computes, by torch."""

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        scales: torch.Tensor,
        sums: torch.Tensor,
        *,
        gelu: bool,
    ) -> None:
        self._weight = weight
        self._bias = bias
        self._scales = scales
        self._sums = sums
        self._gelu = gelu

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
        rows, steps, lowest = _to_bytes(x)
        y = functional.linear(rows, self._weight.float()).mul_(self._scales).mul_(steps)
        y = y.add_(self._bias).addcmul_(lowest, self._sums)
        if self._gelu:
            y = functional.gelu(y)
        return y if residual is None else y.add_(residual)


def _to_bytes(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Spread each row over 0..255 between its lowest and its highest value, in whole numbers.

    What a trained model's norms give has its largest value on one side: a range around zero has
    twice the error (cosine 0.9974 against 0.9988 on MiniLM).
    """
    lowest = x.amin(dim=-1, keepdim=True)
    steps = x.amax(dim=-1, keepdim=True).sub_(lowest).div_(255).clamp_min_(_TINY)
    return torch.sub(x, lowest).mul_(steps.reciprocal()).add_(0.5).floor_(), steps, lowest
