"""Matrix products with fixed weights, each kind prepared for its device.

`make_linear` chooses: plain torch on GPUs; on the CPU weights packed once into oneDNN's blocked
layout, which is what makes few rows fast, with GELU and the residual sum inside the product; or
int8 (`runtime.int8`). The packed products are torch's own but not in its public API, so each kind
is asked a question with a known answer before it is used, and a wrong answer means the plain kind.
Seen right with torch 2.12 to 2.15.
"""

from functools import cache
from typing import Protocol

import torch
from torch.nn import functional

from smart_embedder.runtime.devices import INT8, Device
from smart_embedder.runtime.int8 import Int8Linear, int8_is_right

_FIRST = 256
"""Columns that a parted product sums by themselves, before the others.

oneDNN sums 512 in one chain. Over four draws of two layers the worst length of text then ends
8.23e-7 from fp64 (rms), where batching alone moves plain torch by 8.12e-7. Parted here, the
smallest product of a layer brings it to 8.03e-7, for one call more a layer.
"""


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
    parted: bool = False,
    settles: bool = False,
) -> Linear:
    """Prepare weights (out x in) for their device.

    Args:
        weight: Out x in.
        bias: Added to the product.
        dtype: Of the weights; int8 is for the CPU alone.
        device: Where the product will be computed.
        gelu: Apply GELU to the product.
        parted: In packed fp32, sum the product in two parts, for the sake of its last digits.
        settles: In int8, what first comes in is typical, and the bias is corrected by it.
    """
    if device.kind == "cpu" and dtype == INT8:
        return Int8Linear(weight, bias, gelu=gelu, fast=int8_is_right(), settles=settles)
    if device.kind == "cpu" and dtype == torch.float32 and prepacked_is_right():
        if parted and weight.shape[1] > _FIRST:
            return PartedLinear(weight, bias)
        return PrepackedLinear(weight, bias, gelu=gelu)
    return PlainLinear(weight.to(device.torch, dtype), _moved(bias, device, dtype), gelu=gelu)


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


class PartedLinear:
    """The same in two products, the second added to the first inside it."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        first, rest = weight[:, :_FIRST], weight[:, _FIRST:]
        self._first = PrepackedLinear(first, bias, gelu=False)
        self._rest = PrepackedLinear(rest, None, gelu=False)

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """Multiply; the columns are views, which the products read where they are."""
        return self._rest(x[:, _FIRST:], self._first(x[:, :_FIRST], residual))


def product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Multiply by a weight (out x in) that is used once; only where `prepacked_is_right`."""
    y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "none")  # noqa: SLF001 - see module
    return y


@cache
def prepacked_is_right() -> bool:
    """Ask a small product whose answer is known."""
    weight, bias, x, residual = _probe()
    try:
        view = torch.cat([x, x], dim=1)[:, : x.shape[1]]
        packed = PrepackedLinear(weight, bias, gelu=False)(view, residual)
        curved = PrepackedLinear(weight, bias, gelu=True)(x)
        once = product(x, weight) + bias
    except (AttributeError, RuntimeError):
        return False
    plain = functional.linear(x, weight, bias)
    pairs = ((packed, plain + residual), (curved, functional.gelu(plain)), (once, plain))
    return all(torch.allclose(found, known, atol=1e-4) for found, known in pairs)


def _probe() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    dice = torch.Generator().manual_seed(0)
    shapes = ((96, 64), (96,), (5, 64), (5, 96))
    weight, bias, x, residual = (torch.randn(shape, generator=dice) for shape in shapes)
    return weight, bias, x, residual
