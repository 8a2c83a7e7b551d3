"""The product in int8: bytes times bytes, one range a token and one scale for each row of weights.

A range of its own for each token keeps a text's vector independent of its batch mates. Where the
processor's byte product is not to be trusted, the same numbers are computed slowly. Whoever changes
the numbers raises `RECIPES` in `models.model`: vectors of two recipes must not be compared.
"""

from functools import cache

import torch
from torch.nn import functional

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
        *,
        gelu: bool,
        fast: bool,
        settles: bool = False,
    ) -> None:
        weight = weight.float()
        scales = (weight.abs().amax(dim=1, keepdim=True) / 127).clamp_min_(_TINY)
        quantized = torch.round(weight / scales).to(torch.int8)
        rounded = quantized * scales
        self._product = (_ByteProduct if fast else _WidenedProduct)(quantized, scales.flatten())
        # What a row's lowest value is counts for every column: it is multiplied once, not in bytes.
        self._sums = rounded.sum(dim=1)
        self._bias = torch.zeros(len(weight)) if bias is None else bias.float()
        self._gelu = gelu
        self._rounded_off = weight.sub(rounded) if settles else None

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """Quantise each row, multiply, scale back."""
        if self._rounded_off is not None:
            self._bias = self._bias + self._rounded_off @ x.mean(dim=0)
            self._rounded_off = None
        rows, steps, lowest = _to_bytes(x)
        y = self._product(rows).mul_(steps).add_(self._bias).addcmul_(lowest, self._sums)
        if self._gelu:
            y = functional.gelu(y)
        return y if residual is None else y.add_(residual)


def _to_bytes(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Spread each row over 0..255 between its lowest and its highest value.

    What a trained model's norms give has its largest value on one side: a range around zero has
    twice the error (cosine 0.9974 against 0.9988 on MiniLM). The plain passes are the fast ones:
    one fused call (a norm) takes torch 4 to 20 times as long on rows of this size.
    """
    lowest = x.amin(dim=-1, keepdim=True)
    steps = x.amax(dim=-1, keepdim=True).sub_(lowest).div_(255).clamp_min_(_TINY)
    # The conversion cuts off: the half makes it rounding.
    rows = torch.sub(x, lowest).mul_(steps.reciprocal()).add_(0.5).to(torch.uint8)
    return rows, steps, lowest


class _ByteProduct:
    """Bytes times bytes, summed in 32 bits, given back in fp32; oneDNN is fast for uint8 rows."""

    def __init__(self, quantized: torch.Tensor, scales: torch.Tensor) -> None:
        self._weight = torch.ops.onednn.qlinear_prepack(quantized, None)
        self._scales = scales
        self._zeros = torch.zeros(len(scales), dtype=torch.int64)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rows, 1.0, 0, self._weight, self._scales, self._zeros, None,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return y


class _WidenedProduct:
    """The same numbers, slowly, where the processor's byte product is not to be trusted."""

    def __init__(self, quantized: torch.Tensor, scales: torch.Tensor) -> None:
        self._weight = quantized
        self._scales = scales

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return functional.linear(rows.float(), self._weight.float()).mul_(self._scales)


@cache
def int8_is_right() -> bool:
    """Ask for the largest sums there are: processors without VNNI overflow half way."""
    dice = torch.Generator().manual_seed(0)
    weight = torch.randn(96, 64, generator=dice).sign_()
    x = torch.ones(5, 64)
    x[:, 0] = 0  # the rest of the row is the highest byte
    try:
        fast = Int8Linear(weight, None, gelu=False, fast=True)(x)
    except (AttributeError, RuntimeError):
        return False
    return torch.allclose(fast, functional.linear(x, weight), atol=1e-3)
