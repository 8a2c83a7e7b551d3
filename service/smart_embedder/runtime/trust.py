"""Whether the kernels may be used: they are asked questions with known answers first.

A wrong answer, on a processor that nobody tried, means plain torch.
"""

from functools import cache

import numpy as np
import torch
from torch.nn import functional

from smart_embedder.runtime.int8 import Int8Linear
from smart_embedder.runtime.kernels import Kernels, kernels
from smart_embedder.runtime.packing import Pack


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
