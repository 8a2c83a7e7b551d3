"""Every kind of linear gives the product it stands for, and what is not trusted is replaced."""

import pytest
import torch
from torch.nn import functional

from smart_embedder.runtime.devices import INT8, Device
from smart_embedder.runtime.linear import (
    GELU_FLOOR,
    Int8Linear,
    Linear,
    PlainLinear,
    PrepackedLinear,
    int8_is_right,
    make_linear,
    prepacked_is_right,
)

CPU = Device("cpu", 0, "cpu")
DICE = torch.Generator().manual_seed(3)
WEIGHT = torch.randn(40, 24, generator=DICE)
BIAS = torch.randn(40, generator=DICE)
ROWS = torch.randn(9, 24, generator=DICE)
RESIDUAL = torch.randn(9, 40, generator=DICE)


def linear(dtype: torch.dtype, *, gelu: bool = False, bias: bool = True) -> Linear:
    return make_linear(WEIGHT, BIAS if bias else None, dtype=dtype, device=CPU, gelu=gelu)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 9])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (INT8, 0.2)])
def test_a_product_is_the_plain_one(dtype: torch.dtype, near: float, rows: int, bias: bool) -> None:
    plain = functional.linear(ROWS[:rows], WEIGHT, BIAS if bias else None)
    curved = functional.gelu(plain)
    product, with_gelu = linear(dtype, bias=bias), linear(dtype, gelu=True, bias=bias)
    torch.testing.assert_close(product(ROWS[:rows]), plain, atol=near, rtol=0)
    torch.testing.assert_close(with_gelu(ROWS[:rows]), curved, atol=near, rtol=0)
    summed = product(ROWS[:rows], RESIDUAL[:rows])
    torch.testing.assert_close(summed, plain + RESIDUAL[:rows], atol=near, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, INT8])
def test_neither_the_rows_nor_the_residual_are_written_to(dtype: torch.dtype) -> None:
    rows, residual = ROWS.clone(), RESIDUAL.clone()
    linear(dtype)(rows, residual)
    assert torch.equal(rows, ROWS)
    assert torch.equal(residual, RESIDUAL)


def test_an_int8_row_does_not_depend_on_the_rows_beside_it() -> None:
    product = linear(INT8)
    beside_a_giant = product(torch.cat([ROWS[:1], ROWS[1:] * 1000]))
    assert torch.equal(beside_a_giant[:1], product(ROWS[:1]))


def test_a_row_of_zeros_is_zero_in_int8() -> None:
    assert not linear(INT8, bias=False)(torch.zeros(2, 24)).any()


def test_half_weights_are_widened_for_an_fp32_second_try() -> None:
    product = linear(torch.bfloat16)
    assert product(ROWS.bfloat16()).dtype == torch.bfloat16
    wide = functional.linear(ROWS, WEIGHT.bfloat16().float(), BIAS.bfloat16().float())
    torch.testing.assert_close(product(ROWS), wide)


def test_the_fast_kinds_are_used_where_they_are_right() -> None:
    assert isinstance(
        linear(torch.float32), PrepackedLinear if prepacked_is_right() else PlainLinear
    )
    assert isinstance(linear(INT8), Int8Linear)


@pytest.mark.parametrize("exact", [True, False])
def test_rows_behind_a_gelu_lose_less_when_counted_from_its_floor(exact: bool) -> None:
    if exact and not int8_is_right():
        pytest.skip("this processor has no trusted int8 product")
    rows = functional.gelu(torch.cat([ROWS * 2, -ROWS.abs(), torch.full((1, 24), -0.75)]))
    plain = functional.linear(rows, WEIGHT, BIAS)
    around_zero, from_floor = (
        (Int8Linear(WEIGHT, BIAS, gelu=False, exact=exact, floor=floor)(rows) - plain)
        .square()
        .mean()
        for floor in (None, GELU_FLOOR)
    )
    assert from_floor < around_zero * 0.8


@pytest.mark.skipif(not int8_is_right(), reason="this processor has no trusted int8 product")
def test_the_slow_int8_product_gives_the_same_numbers() -> None:
    fast, slow = (
        Int8Linear(WEIGHT, BIAS, gelu=False, exact=exact)(ROWS) for exact in (True, False)
    )
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-5)
