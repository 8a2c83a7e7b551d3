"""The kernels give the numbers of torch, and the same ones in any company and by any threads."""

import ctypes
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from smart_embedder.runtime import kernels as module
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
    return fast.product(x, fast.pack(weight), len(weight), bias, gelu=True, residual=residual)


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


@needed
@pytest.mark.parametrize("count", [2, 5, 13, 200])
def test_a_row_has_the_same_numbers_alone_and_among_others(fast: Kernels, count: int) -> None:
    x, weight = draw(count, 1100), draw(70, 1100)
    together = product(fast, x, weight)
    assert torch.equal(together, torch.cat([product(fast, row[None], weight) for row in x]))


@needed
@pytest.mark.usefixtures("one_thread")
def test_threads_change_no_number(fast: Kernels) -> None:
    x, weight, parts = draw(300, 300), draw(300, 300), draw(300, 12, 16).split(4, dim=1)
    pack = Pack.of([np.zeros(150, np.int32)] * 2, torch.device("cpu"))
    one = product(fast, x, weight), fast.attention(*parts, pack, causal=True, window=9, scale=1.0)
    torch.set_num_threads(3)
    three = product(fast, x, weight), fast.attention(*parts, pack, causal=True, window=9, scale=1.0)
    assert all(torch.equal(*each) for each in zip(one, three, strict=True))


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
def test_large_scores_neither_overflow_nor_vanish(fast: Kernels) -> None:
    q, k, v = (draw(500, 1, 8) * factor for factor in (40, 40, 1))
    pack = Pack.of([np.zeros(500, np.int32)], torch.device("cpu"))
    found = fast.attention(q, k, v, pack, causal=False, window=None, scale=1.0)
    weights = (q[:, 0].double() @ k[:, 0].double().T).softmax(dim=1)
    torch.testing.assert_close(found[:, 0].double(), weights @ v[:, 0].double(), atol=1e-3, rtol=0)


@needed
def test_the_code_for_wide_processors_gives_the_same_numbers(tmp_path: Path, fast: Kernels) -> None:
    wide = compiled_for_wide(tmp_path)
    x, weight, residual = draw(61, 700), draw(70, 700), draw(61, 70)
    assert torch.equal(*(product(each, x, weight, residual) for each in (fast, wide)))
    pack = Pack.of([np.zeros(length, np.int32) for length in (300, 33)], torch.device("cpu"))
    for causal, window in ((False, None), (True, None), (False, 40)):
        q, k, v = draw(333, 6, 20).split((2, 2, 2), dim=1)
        found = [
            each.attention(q, k, v, pack, causal=causal, window=window, scale=0.2)
            for each in (fast, wide)
        ]
        assert torch.equal(*found)


def compiled_for_wide(folder: Path) -> Kernels:
    """AVX-512's code on AVX2; without its product of bytes, which is one instruction of AVX-512."""
    missing = folder / "missing.c"
    names = ("packed_bytes", "pack_bytes", "product_of_bytes")
    missing.write_text("".join(f"void {name}(void) {{}}\n" for name in names))
    sources = [
        Path(module.__file__).with_name(f"{name}.c") for name in ("products", "attention", "pool")
    ]
    flags = "-O2 -shared -fPIC -nostdlib -ffreestanding -target x86_64-linux-gnu -mcpu=x86_64_v3"
    command = [sys.executable, "-m", "ziglang", "cc", *flags.split(), "-DLANES=16"]
    subprocess.run([*command, *sources, missing, "-o", folder / "wide.so"], check=True)
    openmp = module._openmp()
    assert openmp
    return Kernels(ctypes.CDLL(str(folder / "wide.so")), ctypes.CDLL(openmp))
