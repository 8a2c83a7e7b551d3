"""Matrix products with fixed weights, each kind prepared for its device.

`make_linear` chooses: plain torch on GPUs; on the CPU our kernels, in fp32 or int8, which pack the
weights once and do GELU and the residual sum inside the product. The kernels are asked a question
with a known answer before they are used, and a wrong answer means plain torch.
"""

from functools import cache
from typing import Protocol

import torch
from torch.nn import functional

from smart_embedder.runtime.devices import INT8, Device
from smart_embedder.runtime.int8 import Int8Linear
from smart_embedder.runtime.kernels import Kernels, kernels


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
    settles: bool = False,
) -> Linear:
    """Prepare weights (out x in) for their device.

    Args:
        weight: Out x in.
        bias: Added to the product.
        dtype: Of the weights; int8 is for the CPU alone.
        device: Where the product will be computed.
        gelu: Apply GELU to the product.
        settles: In int8, what first comes in is typical, and the bias is corrected by it.
    """
    fast = trusted_kernels() if device.kind == "cpu" else None
    if dtype == INT8:
        return Int8Linear(weight, bias, fast, gelu=gelu, settles=settles)
    if fast and dtype == torch.float32:
        return PackedLinear(weight, bias, fast, gelu=gelu)
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


class PackedLinear:
    """fp32 in the order in which our kernel reads it."""

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, fast: Kernels, *, gelu: bool
    ) -> None:
        self._kernels = fast
        self._width = len(weight)
        self._weight = fast.pack(weight)
        self._bias = None if bias is None else bias.float().contiguous()
        self._gelu = gelu

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """Multiply, with what follows done while the result is still in cache."""
        return self._kernels.product(
            x, self._weight, self._width, self._bias, gelu=self._gelu, residual=residual
        )


@cache
def trusted_kernels() -> Kernels | None:
    """The kernels, if they know the answer of a small product, in fp32 and in int8."""
    found = kernels()
    if found is None:
        return None
    dice = torch.Generator().manual_seed(0)
    shapes = ((96, 64), (96,), (5, 64), (5, 96))
    weight, bias, x, residual = (torch.randn(shape, generator=dice) for shape in shapes)
    plain = functional.gelu(functional.linear(x, weight, bias)) + residual
    slow = Int8Linear(weight, bias, None, gelu=True)(x, residual)
    right = torch.allclose(
        PackedLinear(weight, bias, found, gelu=True)(x, residual), plain, atol=1e-4
    )
    right &= torch.allclose(
        Int8Linear(weight, bias, found, gelu=True)(x, residual), slow, atol=1e-4
    )
    return found if right else None
