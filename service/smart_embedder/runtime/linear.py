"""Matrix products with fixed weights, each kind prepared for its device.

`make_linear` chooses: plain torch on GPUs; on the CPU weights packed once into oneDNN's blocked
layout, which is what makes few rows fast, with GELU and the residual sum inside the product; or
int8. The packed products are torch's own but not in its public API, so each kind is asked a
question with a known answer before it is used, and a wrong answer means the plain kind.
Seen right with torch 2.12 to 2.15.
"""

from functools import cache
from typing import Protocol

import torch
from torch.nn import functional

from smart_embedder.runtime.devices import INT8, Device


class Linear(Protocol):
    """A product with fixed weights; `gelu` and the residual are applied to its result."""

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """Multiply the rows of x."""
        ...


def make_linear(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    *,
    dtype: torch.dtype,
    device: Device,
    gelu: bool = False,
    after_gelu: bool = False,
) -> Linear:
    """Prepare weights (out x in) for their device; `after_gelu` tells what will come in."""
    if device.kind == "cpu" and dtype == INT8:
        floor = GELU_FLOOR if after_gelu else None
        return Int8Linear(weight, bias, gelu=gelu, exact=int8_is_right(), floor=floor)
    if fuses_residual(dtype, device):
        return PrepackedLinear(weight, bias, gelu=gelu)
    return PlainLinear(weight.to(device.torch, dtype), _moved(bias, device, dtype), gelu=gelu)


def fuses_residual(dtype: torch.dtype, device: Device) -> bool:
    """Say whether linears of this dtype sum their residual inside the product."""
    return device.kind == "cpu" and dtype == torch.float32 and prepacked_is_right()


def _moved(bias: torch.Tensor | None, device: Device, dtype: torch.dtype) -> torch.Tensor | None:
    return None if bias is None else bias.to(device.torch, dtype)


class PlainLinear:
    """What torch does by itself, in the dtype of what comes in."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, *, gelu: bool) -> None:
        self._weight = weight
        self._bias = bias
        self._gelu = gelu

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """Multiply; half weights are widened for the rows of an fp32 second try."""
        bias = None if self._bias is None else self._bias.to(x.dtype)
        y = functional.linear(x, self._weight.to(x.dtype), bias)
        if self._gelu:
            y = functional.gelu(y)
        return y if residual is None else y.add_(residual)


class PrepackedLinear:
    """fp32 in oneDNN's own layout: one layout serves every number of rows."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, *, gelu: bool) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.float())  # noqa: SLF001 - see module
        self._bias = None if bias is None else bias.float()
        self._after = "gelu" if gelu else "none"

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """Multiply, with what follows done while the result is still in cache."""
        product = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - see module
        y: torch.Tensor = (
            product(x, self._weight, self._bias, self._after, [], "none")
            if residual is None
            else product.binary(x, residual, self._weight, self._bias, "add")
        )
        return y


class Int8Linear:
    """int8 weights, one scale a row of them; activations in 8 bits, one scale a token.

    A scale of its own for each token keeps a text's vector independent of its batch mates.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        *,
        gelu: bool,
        exact: bool,
        floor: float | None = None,
    ) -> None:
        quantized, scales = _quantized(weight.float())
        product = _ByteProduct if exact else _WidenedProduct
        self._product = product(quantized, scales, zero=_ZERO if floor is None else 0)
        self._bias = None if bias is None else bias.float()
        self._gelu = gelu
        self._floor = floor
        if floor is not None:
            # Rows are counted from the floor up: what lies below it is the same for every row.
            lost = quantized.sum(dim=1).mul(scales).mul_(floor)
            self._bias = lost if self._bias is None else self._bias + lost

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """Quantise each row, multiply, scale back."""
        rows, scales = _rows_to_bytes(x) if self._floor is None else _from_floor(x, self._floor)
        y = self._product(rows).mul_(scales)
        if self._bias is not None:
            y.add_(self._bias)
        if self._gelu:
            y = functional.gelu(y)
        return y if residual is None else y.add_(residual)


_ZERO = 128
"""The byte that means zero: oneDNN is fast for unsigned activations only."""
GELU_FLOOR = -0.17
"""GELU is never below -0.16997, so the bytes behind it need not reach as far down as up."""


def _quantized(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scales = (weight.abs().amax(dim=1) / 127).clamp_min(torch.finfo(torch.float32).tiny)
    return torch.round(weight / scales[:, None]).to(torch.int8), scales


def _rows_to_bytes(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Spread each row over -127..127 around the zero byte.

    The plain passes are the fast ones: one fused call (a norm, addcmul) takes torch 4 to 20 times
    as long on rows of this size.
    """
    scales = torch.maximum(x.amax(dim=-1), x.amin(dim=-1).neg_()).unsqueeze_(-1)
    scales.div_(127).clamp_min_(torch.finfo(torch.float32).tiny)
    # The conversion cuts off: the half makes it rounding.
    return torch.mul(x, scales.reciprocal()).add_(_ZERO + 0.5).to(torch.uint8), scales


def _from_floor(x: torch.Tensor, floor: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Spread each row over 0..255 from the floor up: half the error of a range around zero."""
    scales = x.amax(dim=-1, keepdim=True).sub_(floor).div_(255)
    scales.clamp_min_(torch.finfo(torch.float32).tiny)
    steps = scales.reciprocal()
    return torch.sub(x, floor).mul_(steps).add_(0.5).to(torch.uint8), scales


class _ByteProduct:
    """Bytes times bytes, summed in 32 bits, given back in fp32."""

    def __init__(self, quantized: torch.Tensor, scales: torch.Tensor, *, zero: int) -> None:
        self._zero = zero
        self._weight = torch.ops.onednn.qlinear_prepack(quantized, None)
        self._scales = scales
        self._zeros = torch.zeros(len(scales), dtype=torch.int64)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rows, 1.0, self._zero, self._weight, self._scales, self._zeros, None,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return y


class _WidenedProduct:
    """The same numbers, slowly, where the processor's byte product is not to be trusted."""

    def __init__(self, quantized: torch.Tensor, scales: torch.Tensor, *, zero: int) -> None:
        self._zero = zero
        self._weight = quantized
        self._scales = scales

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return functional.linear(rows.float().sub_(self._zero), self._weight.float()).mul_(
            self._scales
        )


@cache
def prepacked_is_right() -> bool:
    """Ask a small product whose answer is known."""
    weight, bias, x, residual = _probe()
    try:
        packed = PrepackedLinear(weight, bias, gelu=False)(x, residual)
        curved = PrepackedLinear(weight, bias, gelu=True)(x)
    except (AttributeError, RuntimeError):
        return False
    plain = functional.linear(x, weight, bias)
    return torch.allclose(packed, plain + residual, atol=1e-4) and torch.allclose(
        curved, functional.gelu(plain), atol=1e-4
    )


@cache
def int8_is_right() -> bool:
    """Ask for the largest sums there are: processors without VNNI overflow half way."""
    weight, _, x, _ = _probe()
    weight, x = weight.sign(), x.abs().add_(1).sign_()
    try:
        fast = Int8Linear(weight, None, gelu=False, exact=True)(x)
    except (AttributeError, RuntimeError):
        return False
    return torch.allclose(fast, functional.linear(x, weight), atol=1e-3)


def _probe() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    dice = torch.Generator().manual_seed(0)
    shapes = ((96, 64), (96,), (5, 64), (5, 96))
    weight, bias, x, residual = (torch.randn(shape, generator=dice) for shape in shapes)
    return weight, bias, x, residual
