"""Matrix products with fixed weights, each kind prepared for its device.

`make_linear` chooses: plain torch on GPUs; on the CPU our kernels, in fp32 or int8, which pack the
weights once and do GELU and the residual sum inside the product. The kernels are asked questions
with known answers before they are used, and a wrong answer means plain torch.
"""

from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from smart_embedder.runtime.devices import INT8, Device
from smart_embedder.runtime.int8 import Int8Linear
from smart_embedder.runtime.kernels import Kernels, kernels
from smart_embedder.runtime.packing import Pack


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


@cache
def trusted_kernels() -> Kernels | None:
    """The kernels, if they know the answers of small questions that need every part of them."""
    found = kernels()
    known = found and _multiplies(found) and _attends(found) and _normalises(found)
    return found if known else None


def _multiplies(found: Kernels) -> bool:
    """Ask for a product of several tiles, panels and chains, by all threads, in fp32 and int8."""
    weight, bias, x, residual = _draw((130, 300), (130,), (30, 300), (30, 130))
    plain = functional.gelu(functional.linear(x, weight, bias)) + residual
    slow = Int8Linear(weight, bias, None, gelu=True)(x, residual)
    ours = found.product(weight, bias, gelu=True)(x, residual)
    rounded = Int8Linear(weight, bias, found, gelu=True)(x, residual)
    # A number just between two bytes may go either way, and count one step times a weight.
    return torch.allclose(ours, plain, atol=1e-3) and torch.allclose(rounded, slow, atol=0.2)


def _attends(found: Kernels) -> bool:
    q, k, v = _draw(*[(40, 2, 16)] * 3)
    pack = Pack.of([np.zeros(length, np.int32) for length in (33, 7)], torch.device("cpu"))
    ours = found.attention(q, k, v, pack, causal=False, window=None, scale=0.25)
    q, k, v = (part.transpose(0, 1) for part in (q, k, v))
    known = [
        functional.scaled_dot_product_attention(q[:, rows], k[:, rows], v[:, rows])
        for rows in (slice(0, 33), slice(33, 40))
    ]
    return torch.allclose(ours.transpose(0, 1), torch.cat(known, dim=1), atol=1e-4)


def _normalises(found: Kernels) -> bool:
    x, gain, bias = _draw((300, 1000), (1000,), (1000,))
    known = (
        functional.layer_norm(x, gain.shape, gain, bias, 1e-5),
        functional.rms_norm(x, gain.shape, gain, 1e-5),
    )
    ours = (found.norm(x, gain, bias, 1e-5), found.norm(x, gain, None, 1e-5))
    return all(torch.allclose(*each, atol=1e-4) for each in zip(ours, known, strict=True))


def _draw(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    dice = torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, generator=dice, dtype=torch.float32, device="cpu") for shape in shapes
    ]
