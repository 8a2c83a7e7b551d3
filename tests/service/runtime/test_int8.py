"""The int8 product: each row by itself, near to the exact one, and the same on every processor."""

import ctypes
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from smart_embedder.runtime import kernels as module
from smart_embedder.runtime.int8 import Int8Linear
from smart_embedder.runtime.kernels import Kernels, kernels

DICE = torch.Generator().manual_seed(3)
WEIGHT = torch.randn(40, 24, generator=DICE)
BIAS = torch.randn(40, generator=DICE)
ROWS = torch.randn(9, 24, generator=DICE)


def linear(
    weight: torch.Tensor = WEIGHT,
    bias: torch.Tensor | None = BIAS,
    *,
    settles: bool = False,
) -> Int8Linear:
    return Int8Linear(weight, bias, kernels(), gelu=False, settles=settles)


def error(product: Int8Linear, rows: torch.Tensor) -> float:
    return float((product(rows) - functional.linear(rows, WEIGHT, BIAS)).square().mean())


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    beside_a_giant = linear()(torch.cat([ROWS[:1], ROWS[1:] * 1000]))
    assert torch.equal(beside_a_giant[:1], linear()(ROWS[:1]))


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0])
def test_a_row_of_one_value_is_exact_but_for_its_weights(value: float) -> None:
    rows = torch.full((2, 24), value)
    exact = functional.linear(rows, WEIGHT)
    torch.testing.assert_close(linear(bias=None)(rows), exact, atol=0.2, rtol=0)
    assert value or not linear(bias=None)(rows).any()


def test_a_large_value_on_one_side_takes_half_of_what_a_range_around_zero_would_lose() -> None:
    rows = functional.layer_norm(ROWS, (24,))
    rows[:, 5] = -12.0
    around_zero = torch.cat([rows, -rows[:, 5:6]], dim=1)
    weight = torch.cat([WEIGHT, torch.zeros(40, 1)], dim=1)
    two_sided = (
        (linear(weight)(around_zero) - functional.linear(rows, WEIGHT, BIAS)).square().mean()
    )
    assert error(linear(), rows) < two_sided * 0.5


def test_a_linear_that_settles_gives_back_what_its_rounding_takes_from_all_rows_alike() -> None:
    rows = ROWS * 0.1 + torch.randn(24, generator=torch.Generator().manual_seed(4))
    settled = linear(settles=True)
    settled(rows)
    assert error(settled, rows) < error(linear(), rows) * 0.5


def test_a_linear_settles_once() -> None:
    settled = linear(settles=True)
    settled(ROWS)
    before = settled(ROWS[:2])
    settled(ROWS * 7 + 3)
    assert torch.equal(settled(ROWS[:2]), before)


def test_values_that_are_not_finite_stay_so() -> None:
    rows = ROWS.clone()
    rows[1, 3] = torch.nan
    rows[2, 3] = torch.inf
    finite = linear()(rows).isfinite().all(dim=1)
    assert finite.tolist() == [True, False, False, *[True] * 6]


needed = pytest.mark.skipif(kernels() is None, reason="no kernels for this processor")


@pytest.fixture(params=["this processor's", "narrow"])
def fast(request: pytest.FixtureRequest) -> Kernels:
    """The kernels that are used here, and those of AVX2, whose bytes need an order."""
    found, openmp = kernels(), module._openmp()
    assert found
    assert openmp
    if request.param == "narrow":
        library = Path(module.__file__).with_name("avx2.so")
        return Kernels(ctypes.CDLL(str(library)), ctypes.CDLL(openmp))
    return found


@needed
@pytest.mark.parametrize("rows", [1, 6, 12, 13, 500, 1000])
@pytest.mark.parametrize(("outputs", "depth"), [(40, 1), (5, 24), (32, 24), (40, 71)])
def test_the_kernel_gives_the_numbers_that_torch_gives_slowly(
    fast: Kernels, rows: int, outputs: int, depth: int
) -> None:
    dice = torch.Generator().manual_seed(rows + depth)
    shapes = ((outputs, depth), (outputs,), (rows, depth), (rows, outputs))
    weight, bias, x, residual = (torch.randn(shape, generator=dice) for shape in shapes)
    ours, slow = (Int8Linear(weight, bias, each, gelu=True) for each in (fast, None))
    torch.testing.assert_close(ours(x, residual), slow(x, residual), atol=1e-5, rtol=1e-5)


@needed
def test_the_largest_sums_there_are_do_not_overflow(fast: Kernels) -> None:
    weight = torch.randn(40, 4096, generator=DICE).sign_()
    x = torch.ones(7, 4096)
    x[:, 0] = 0  # the rest of the row is the highest byte
    exact = functional.linear(x, weight)
    found = Int8Linear(weight, None, fast, gelu=False)(x)
    torch.testing.assert_close(found, exact, atol=1e-3, rtol=1e-5)


@needed
@pytest.mark.parametrize("largest", [64, 90, 127])
def test_no_sum_of_two_products_is_cut_off(fast: Kernels, largest: int) -> None:
    """255 x 2 x 64 fits into 16 bits; of larger weights some order does, or their halves."""
    dice = torch.Generator().manual_seed(largest)
    weight = torch.randint(-largest, largest + 1, (64, 400), generator=dice).float()
    weight[:, 0] = 127  # so that the scale is 1
    x = torch.full((9, 400), 255.0)
    x[:, ::20] = 0  # so that the step is 1
    exact = functional.linear(x.double(), weight.double()).float()
    assert torch.equal(Int8Linear(weight, None, fast, gelu=False)(x), exact)


@needed
def test_weights_mostly_find_an_order_in_which_they_need_not_be_halved(fast: Kernels) -> None:
    dice = torch.Generator().manual_seed(0)
    rounded = torch.randn(1024, 1024, generator=dice).mul_(38).clamp_(-127, 127).to(torch.int8)
    ones = torch.ones(1024)
    packed = fast.product_of_bytes(rounded, ones, ones, ones, gelu=False)._fixed[0]
    assert packed is not None
    # A sixteenth are the steps' places, 7 % the halves; always the last way would make it 1.143.
    assert packed.nbytes < 1.138 * rounded.nbytes
