"""Every kind of linear gives the product it stands for, and what is not trusted is replaced."""

import pytest
import torch
from torch.nn import functional

from smart_embedder.runtime.devices import INT8, Device
from smart_embedder.runtime.int8 import Int8Linear
from smart_embedder.runtime.kernels import Product, kernels
from smart_embedder.runtime.linear import Linear, PlainLinear, make_linear
from smart_embedder.runtime.trust import trusted_kernels

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


def test_half_weights_are_widened_for_an_fp32_second_try() -> None:
    product = linear(torch.bfloat16)
    assert product(ROWS.bfloat16()).dtype == torch.bfloat16
    wide = functional.linear(ROWS, WEIGHT.bfloat16().float(), BIAS.bfloat16().float())
    torch.testing.assert_close(product(ROWS), wide)


def test_the_fast_kinds_are_used_where_they_are_right() -> None:
    assert trusted_kernels() is kernels()
    assert isinstance(linear(torch.float32), Product if trusted_kernels() else PlainLinear)
    assert isinstance(linear(INT8), Int8Linear)
