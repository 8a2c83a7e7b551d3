"""What the machine allows at this moment: how fast it multiplies, and how fast it reads."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from bench import full_shape


def product_flops() -> float:
    """The best rate that torch's two products or ours reach on this machine now, 1024 -> 4096."""
    from smart_embedder.runtime.kernels import kernels  # noqa: PLC0415 - some rivals' Pythons do not have ours

    pack, product = torch.ops.mkldnn._reorder_linear_weight, torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - what torch itself uses when it freezes a model
    rows = torch.randn(512, full_shape.WIDTH)
    packed = [pack(torch.randn(full_shape.INNER, full_shape.WIDTH)) for _ in range(12)]
    plain = [torch.randn(full_shape.INNER, full_shape.WIDTH) for _ in range(12)]
    work = 12 * 2 * rows.numel() * full_shape.INNER

    def rate(run: Callable[[], Any]) -> float:
        start = time.perf_counter()
        run()
        return work / (time.perf_counter() - start)

    rates = [
        rate(lambda: [product(rows, weight, None, "none", [], "none") for weight in packed]),
        rate(lambda: [functional.linear(rows, weight) for weight in plain]),
    ]
    if found := kernels():
        ours = [found.product(weight, None, gelu=False) for weight in plain]
        rates.append(rate(lambda: [each(rows) for each in ours]))
    return max(rates)


def read_bytes() -> float:
    """Give the bytes that all threads together read from memory in a second."""
    row = torch.ones(1 << 27)  # half a GB: no cache holds it
    start = time.perf_counter()
    row.sum()
    return row.nbytes / (time.perf_counter() - start)
