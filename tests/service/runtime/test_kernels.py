"""The kernels give the numbers of torch, and the same ones in any company and by any threads."""

import ctypes
import platform
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from smart_embedder.runtime import kernels as module
from smart_embedder.runtime.int8 import Int8Linear
from smart_embedder.runtime.kernels import Kernels, kernels
from smart_embedder.runtime.packing import Pack

needed = pytest.mark.skipif(kernels() is None, reason="no kernels for this processor")


@pytest.fixture
def fast() -> Kernels:
    found = kernels()
    assert found
    return found


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def product(
    fast: Kernels, x: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None = None
) -> torch.Tensor:
    bias = weight[:, 0].contiguous()
    return fast.product(weight, bias, gelu=True)(x, residual)


def int8(fast: Kernels, weight: torch.Tensor) -> Int8Linear:
    return Int8Linear(weight, weight[:, 0].contiguous(), fast, gelu=True)


def test_they_are_there_on_every_linux_whose_processor_can() -> None:
    capable = platform.system() == "Linux" and module._KINDS["avx2"] <= module._flags()
    assert (kernels() is not None) == capable


@needed
@settings(deadline=None)
@given(rows=st.integers(1, 50), depth=st.integers(1, 600), width=st.integers(1, 100))
def test_a_product_is_that_of_fp64(rows: int, depth: int, width: int) -> None:
    fast = kernels()
    assert fast
    x, weight, residual = draw(rows, depth), draw(width, depth) * depth**-0.5, draw(rows, width)
    exact = functional.linear(x.double(), weight.double(), weight[:, 0].double())
    exact = functional.gelu(exact) + residual.double()
    found = product(fast, x, weight, residual)
    torch.testing.assert_close(found.double(), exact, atol=5e-6, rtol=1e-6)


@needed
def test_more_rows_than_a_pass_takes_are_multiplied_some_at_a_time(fast: Kernels) -> None:
    x, weight, residual = draw(2100, 40), draw(33, 40), draw(2100, 33)
    alone = [
        product(fast, x[row : row + 1], weight, residual[row : row + 1])
        for row in (0, 959, 960, 2099)
    ]
    assert torch.equal(product(fast, x, weight, residual)[[0, 959, 960, 2099]], torch.cat(alone))


@needed
def test_rows_may_stand_apart(fast: Kernels) -> None:
    x, weight = draw(9, 100), draw(20, 30)
    assert torch.equal(
        product(fast, x[:, 50:80], weight), product(fast, x[:, 50:80].clone(), weight)
    )
    assert torch.equal(
        product(fast, x[:, ::2][:, :30], weight), product(fast, x[:, :60:2].clone(), weight)
    )
    rounded = int8(fast, weight)
    assert torch.equal(rounded(x[:, 50:80]), rounded(x[:, 50:80].clone()))


@needed
@pytest.mark.parametrize("count", [2, 5, 13, 200])
def test_a_row_has_the_same_numbers_alone_and_among_others(fast: Kernels, count: int) -> None:
    x, weight = draw(count, 1100), draw(70, 1100)
    together = product(fast, x, weight)
    assert torch.equal(together, torch.cat([product(fast, row[None], weight) for row in x]))


@needed
@pytest.mark.usefixtures("one_thread")
def test_no_number_of_threads_and_no_caller_beside_changes_a_number(fast: Kernels) -> None:
    x, weight, parts = draw(500, 300), draw(300, 300), draw(500, 12, 16).split(4, dim=1)
    packed, rounded = fast.product(weight, None, gelu=True), int8(fast, weight)
    pack = Pack.of([np.zeros(length, np.int32) for length in (150, 1, 349)], torch.device("cpu"))

    def all_of_them() -> list[torch.Tensor]:
        mixed = fast.attention(*parts, pack, causal=False, window=30, scale=0.3)
        return [packed(x), rounded(x), mixed]

    known = all_of_them()

    def ask(threads: int) -> bool:
        torch.set_num_threads(threads)
        return all(
            torch.equal(*each) for _ in range(20) for each in zip(all_of_them(), known, strict=True)
        )

    with ThreadPoolExecutor(4) as callers:
        assert all(callers.map(ask, (1, 2, 3, 5)))


@needed
@pytest.mark.usefixtures("one_thread")
def test_nobody_multiplies_before_all_rows_are_packed(fast: Kernels) -> None:
    x, weight = draw(960, 2048), draw(16, 2048)
    known = product(fast, x, weight)
    torch.set_num_threads(4)
    assert all(torch.equal(product(fast, x, weight), known) for _ in range(20))


@needed
def test_transposed_tensors_are_read_as_they_are_meant(fast: Kernels) -> None:
    x, weight, residual = draw(40, 70).T, draw(30, 40), draw(30, 70).T
    found = product(fast, x, weight, residual)
    assert torch.equal(found, product(fast, x.clone().contiguous(), weight, residual.contiguous()))
    pack = Pack.of([np.zeros(20, np.int32)], torch.device("cpu"))
    q, k, v = (draw(16, 2, 20).transpose(0, 2) for _ in range(3))
    told = [
        fast.attention(*parts, pack, causal=False, window=None, scale=1.0)
        for parts in ((q, k, v), (q.contiguous(), k.contiguous(), v.contiguous()))
    ]
    assert torch.equal(*told)


@needed
def test_what_torch_makes_by_default_is_nothing_to_them(fast: Kernels) -> None:
    x, weight = draw(9, 40), draw(20, 40)
    known = product(fast, x, weight)
    torch.set_default_dtype(torch.bfloat16)
    try:
        fresh = opened(Path(module.__file__).with_name("avx2.so"))
        assert torch.equal(product(fresh, x, weight), known)
    finally:
        torch.set_default_dtype(torch.float32)


@needed
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_numbers_and_other_widths_are_refused(fast: Kernels, dtype: torch.dtype) -> None:
    packed = fast.product(draw(20, 40), None, gelu=False)
    with pytest.raises(TypeError, match="fp32"):
        packed(draw(9, 40).to(dtype))
    with pytest.raises(ValueError, match="39"):
        packed(draw(9, 39))
    with pytest.raises(TypeError, match="fp32"):
        fast.norm(draw(9, 40).to(dtype), draw(40), None, 1e-5)


@needed
def test_parts_that_do_not_fit_each_other_are_refused(fast: Kernels) -> None:
    x, weight = draw(9, 40), draw(20, 40)
    with pytest.raises(ValueError, match="19"):
        fast.product(weight, draw(19), gelu=False)
    with pytest.raises(ValueError, match="residual"):
        fast.product(weight, None, gelu=False)(x, draw(1, 20))
    for gain, bias in ((draw(39), None), (draw(40), draw(41))):
        with pytest.raises(ValueError, match="rows of 40"):
            fast.norm(x, gain, bias, 1e-5)
    ones = torch.ones(20)
    with pytest.raises(TypeError, match="int8"):
        fast.product_of_bytes(weight, ones, ones, ones, gelu=False)
    with pytest.raises(TypeError, match="fp32"):
        fast.product_of_bytes(weight.to(torch.int8), ones.double(), ones, ones, gelu=False)


@needed
def test_a_text_attends_with_the_same_numbers_alone_and_among_others(fast: Kernels) -> None:
    lengths = (300, 7, 241)
    q, k, v = draw(548, 12, 16).split(4, dim=1)
    pack = Pack.of([np.zeros(length, np.int32) for length in lengths], torch.device("cpu"))
    together = fast.attention(q, k, v, pack, causal=False, window=None, scale=0.3)
    for start, length in zip(pack.starts.tolist(), lengths, strict=True):
        text = slice(start, start + length)
        own = Pack.of([np.zeros(length, np.int32)], torch.device("cpu"))
        alone = fast.attention(q[text], k[text], v[text], own, causal=False, window=None, scale=0.3)
        assert torch.equal(together[text], alone)


@needed
@pytest.mark.parametrize(("part", "value"), [(0, torch.nan), (1, torch.nan), (2, torch.inf)])
def test_what_is_not_finite_stays_so_and_in_its_text_and_head(
    fast: Kernels, part: int, value: float
) -> None:
    parts = [draw(20, 2, 16).clone() for _ in range(3)]
    parts[part][:10, 1, 5] = value
    pack = Pack.of([np.zeros(10, np.int32)] * 2, torch.device("cpu"))
    out = fast.attention(*parts, pack, causal=False, window=None, scale=1.0)
    assert not out[:10, 1].isfinite().all(dim=-1).any()
    assert out[:10, 0].isfinite().all()
    assert out[10:].isfinite().all()


@needed
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_product_of_what_is_not_finite_is_not(fast: Kernels, value: float) -> None:
    x = draw(3, 16).clone()
    x[1, 5] = value
    assert product(fast, x, draw(4, 16)).isfinite().any(dim=1).tolist() == [True, False, True]


@needed
@pytest.mark.parametrize("shape", [(3, 5), (40, 1024), (700, 100), (9, 4, 33)])
def test_a_norm_is_that_of_fp64(fast: Kernels, shape: tuple[int, ...]) -> None:
    x, gain, bias = draw(*shape) * 3 + 7, draw(shape[-1]), draw(1, shape[-1])[0]
    exact = functional.layer_norm(x.double(), gain.shape, gain.double(), bias.double(), 1e-5)
    torch.testing.assert_close(fast.norm(x, gain, bias, 1e-5).double(), exact, atol=5e-6, rtol=0)
    exact = functional.rms_norm(x.double(), gain.shape, gain.double(), 1e-5)
    torch.testing.assert_close(fast.norm(x, gain, None, 1e-5).double(), exact, atol=2e-6, rtol=0)


@needed
def test_a_norm_of_a_row_of_one_value_is_its_bias(fast: Kernels) -> None:
    x, gain = torch.full((2, 40), 3.0), draw(40)
    assert torch.equal(fast.norm(x, gain, gain, 1e-5), gain.expand(2, 40))
    assert not fast.norm(x * 0, gain, None, 1e-5).any()


@needed
def test_a_norm_reads_some_heads_of_each_token(fast: Kernels) -> None:
    x, gain = draw(9, 6, 20), draw(20)
    found = fast.norm(x[:, 1:3], gain, None, 1e-5)
    assert torch.equal(found, fast.norm(x[:, 1:3].contiguous(), gain, None, 1e-5))
    part = fast.norm(x[..., :10], gain[:10], None, 1e-5)
    assert torch.equal(part, fast.norm(x[..., :10].contiguous(), gain[:10], None, 1e-5))
    turned = draw(20, 9).T
    assert torch.equal(
        fast.norm(turned, gain, None, 1e-5), fast.norm(turned.contiguous(), gain, None, 1e-5)
    )


@needed
def test_a_norm_with_what_is_no_number_is_none(fast: Kernels) -> None:
    x, gain = draw(3, 40).clone(), draw(40)
    x[1, 5] = torch.nan
    for bias in (gain, None):
        finite = fast.norm(x, gain, bias, 1e-5).isfinite().any(dim=1)
        assert finite.tolist() == [True, False, True]


@needed
def test_large_scores_neither_overflow_nor_vanish(fast: Kernels) -> None:
    q, k, v = (draw(500, 1, 8) * factor for factor in (40, 40, 1))
    pack = Pack.of([np.zeros(500, np.int32)], torch.device("cpu"))
    found = fast.attention(q, k, v, pack, causal=False, window=None, scale=1.0)
    weights = (q[:, 0].double() @ k[:, 0].double().T).softmax(dim=1)
    torch.testing.assert_close(found[:, 0].double(), weights @ v[:, 0].double(), atol=1e-3, rtol=0)


@needed
def test_the_code_for_wide_processors_gives_the_same_numbers(tmp_path: Path) -> None:
    fast, wide = opened(Path(module.__file__).with_name("avx2.so")), compiled_for_wide(tmp_path)
    x, weight, residual = draw(61, 700), draw(70, 700), draw(61, 70)
    assert torch.equal(*(product(each, x, weight, residual) for each in (fast, wide)))
    assert torch.equal(*(int8(each, weight)(x, residual) for each in (fast, wide)))
    for bias in (weight[0], None):
        assert torch.equal(*(each.norm(x, weight[1], bias, 1e-5) for each in (fast, wide)))
    pack = Pack.of([np.zeros(length, np.int32) for length in (300, 33)], torch.device("cpu"))
    for causal, window in ((False, None), (True, None), (False, 40)):
        q, k, v = draw(333, 6, 20).split((2, 2, 2), dim=1)
        found = [
            each.attention(q, k, v, pack, causal=causal, window=window, scale=0.2)
            for each in (fast, wide)
        ]
        assert torch.equal(*found)


def compiled_for_wide(folder: Path) -> Kernels:
    """Compile AVX-512's code for AVX2, all but the one instruction that multiplies bytes."""
    sources = Path(module.__file__).parent.glob("*.c")
    flags = "-O2 -shared -fPIC -nostdlib -ffreestanding -target x86_64-linux-gnu -mcpu=x86_64_v3"
    command = [sys.executable, "-m", "ziglang", "cc", *flags.split(), "-DLANES=16"]
    subprocess.run([*command, *sources, "-o", folder / "wide.so"], check=True)
    return opened(folder / "wide.so")


def opened(library: Path) -> Kernels:
    """Kernels that have not computed anything yet."""
    openmp = module._openmp()
    assert openmp
    return Kernels(ctypes.CDLL(str(library)), ctypes.CDLL(openmp))
