"""What the machine allows at this moment: how fast it multiplies, and how fast it reads."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from bench import full_shape


def product_flops() -> float:
    """The best rate torch reaches on this machine now: 24 different 1024 -> 4096 products."""
    pack, product = torch.ops.mkldnn._reorder_linear_weight, torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - the ops we use ourselves
    rows = torch.randn(512, full_shape.WIDTH)
    packed = [pack(torch.randn(full_shape.INNER, full_shape.WIDTH)) for _ in range(12)]
    plain = [torch.randn(full_shape.INNER, full_shape.WIDTH) for _ in range(12)]
    work = 12 * 2 * rows.numel() * full_shape.INNER

    def rate(run: Callable[[], Any]) -> float:
        start = time.perf_counter()
        run()
        return work / (time.perf_counter() - start)

    return max(
        rate(lambda: [product(rows, weight, None, "none", [], "none") for weight in packed]),
        rate(lambda: [functional.linear(rows, weight) for weight in plain]),
    )


def read_bytes() -> float:
    """Give the bytes that all threads together read from memory in a second."""
    row = torch.ones(1 << 27)  # half a GB: no cache holds it
    start = time.perf_counter()
    row.sum()
    return row.nbytes / (time.perf_counter() - start)
