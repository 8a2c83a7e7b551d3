"""Matrix products with fixed weights, each kind prepared for its device.

`make_linear` chooses: plain torch on GPUs; on the CPU our kernels, in fp32 or int8, which pack the
weights once and do GELU and the residual sum inside the product.
"""

from typing import Protocol

import torch
from torch.nn import functional

from smart_embedder.runtime.devices import INT8, Device
from smart_embedder.runtime.int8 import Int8Linear
from smart_embedder.runtime.trust import trusted_kernels


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
        return fast.product(weight, bias, gelu=gelu)
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
