"""The feed-forward block is the textbook's, in however many parts it is made."""

import pytest
import torch
from torch.nn import functional

from smart_embedder.runtime.devices import INT8, Device
from smart_embedder.runtime.feed_forward import FeedForward

CPU = Device("cpu", 0, "cpu")
DICE = torch.Generator().manual_seed(11)
WIDE, WIDE_BIAS = torch.randn(2100, 32, generator=DICE) / 6, torch.randn(2100, generator=DICE)
NARROW, NARROW_BIAS = torch.randn(32, 2100, generator=DICE) / 46, torch.randn(32, generator=DICE)
ROWS = torch.randn(1300, 32, generator=DICE)


def block(dtype: torch.dtype, *, settles: bool = False) -> FeedForward:
    return FeedForward(
        (WIDE, WIDE_BIAS), (NARROW, NARROW_BIAS), dtype=dtype, device=CPU, settles=settles
    )


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (INT8, 0.1)])
def test_the_block_is_the_textbooks(dtype: torch.dtype, near: float) -> None:
    inner = functional.gelu(functional.linear(ROWS, WIDE, WIDE_BIAS))
    plain = ROWS + functional.linear(inner, NARROW, NARROW_BIAS)
    torch.testing.assert_close(block(dtype)(ROWS), plain, atol=near, rtol=0)


def test_many_rows_in_int8_are_computed_as_few_are() -> None:
    made = block(INT8)
    few = torch.cat([made(rows) for rows in ROWS.split(100)])
    torch.testing.assert_close(made(ROWS), few, atol=1e-5, rtol=0)


def test_many_rows_in_int8_never_stand_side_by_side_between_the_products() -> None:
    with torch.profiler.profile(profile_memory=True) as profile:
        block(INT8)(ROWS.repeat(8, 1))
    largest = max(event.cpu_memory_usage for event in profile.events() or [])
    assert largest < 8 * len(ROWS) * len(WIDE) * 4 / 2
