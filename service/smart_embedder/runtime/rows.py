"""How many rows a product on the CPU is asked to multiply: one of few numbers.

oneDNN writes code for every number of rows it meets: 7 to 17 ms for the products of a demo model, 4
ms for BGE-M3's, and half a megabyte for each of six products, which it keeps for the last 1,024. A
service meets every number there is: 2,000 passes of 20 to 1,024 rows left 2.5 GB behind, and 0.5 GB
in whole steps. Up to 32 rows, where single queries are, every number stays itself.
"""

from collections.abc import Callable

import torch

_STEPS = 16
"""The largest step, and in smaller numbers the steps to the double: 1.4 % more rows on average."""


def whole(rows: int) -> int:
    """Round up to a whole number of steps."""
    step = min(1 << max(0, (rows // _STEPS).bit_length() - 1), _STEPS)
    return -(-rows // step) * step


def in_whole_steps(x: torch.Tensor) -> torch.Tensor:
    """Repeat the first row until their number is whole; GPUs need no such thing."""
    missing = whole(len(x)) - len(x) if x.device.type == "cpu" else 0
    return torch.cat([x, x[:1].expand(missing, *x.shape[1:])]) if missing else x


def multiply(linear: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Multiply any number of rows in whole steps; for heads, which run once."""
    return linear(in_whole_steps(x))[: len(x)]
