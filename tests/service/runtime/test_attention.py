"""Attention stays inside each text, whatever is shared, masked or out of reach."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from smart_embedder.runtime.attention import attend
from smart_embedder.runtime.packing import Pack

LENGTHS = (5, 5, 1, 7)


def pack_of(lengths: tuple[int, ...], device: str = "cpu") -> Pack:
    return Pack.of([np.zeros(length, np.int32) for length in lengths], torch.device(device))


def draw(tokens: int, heads: int) -> torch.Tensor:
    return torch.randn(tokens, heads, 8, generator=torch.Generator().manual_seed(tokens + heads))


def by_hand(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, pack: Pack, causal: bool, window: int | None
) -> torch.Tensor:
    """Attention as the textbook has it: one text, one head at a time, every score written out."""
    out = torch.zeros_like(q)
    share = q.shape[1] // k.shape[1]
    for start, length in zip(pack.starts.tolist(), pack.lengths, strict=True):
        rows = slice(start, start + length)
        away = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        hidden = (away.abs() >= window) if window else torch.zeros_like(away, dtype=torch.bool)
        if causal:
            hidden |= away < 0
        for head in range(q.shape[1]):
            scores = q[rows, head] @ k[rows, head // share].T / q.shape[2] ** 0.5
            weights = scores.masked_fill(hidden, -torch.inf).softmax(dim=-1)
            out[rows, head] = weights @ v[rows, head // share]
    return out


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 1, 3, 6, 7, 99])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_attention_is_the_textbooks(causal: bool, window: int | None, kv_heads: int) -> None:
    pack, tokens = pack_of(LENGTHS), sum(LENGTHS)
    q, k, v = draw(tokens, 4), draw(tokens, kv_heads), draw(tokens, kv_heads) * 2
    ours = attend(q, k, v, pack, causal=causal, window=window)
    assert ours.shape == q.shape
    torch.testing.assert_close(ours, by_hand(q, k, v, pack, causal, window), atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [None, 0.2])
def test_long_texts_that_see_themselves_whole_are_the_textbooks(scale: float | None) -> None:
    pack, tokens = pack_of((700, 700, 255, 256)), 1911
    q, k, v = draw(tokens, 3), draw(tokens, 3).flip(0), draw(tokens, 3) * 2
    ours = attend(q, k, v, pack, scale=scale)
    known = by_hand(q * (scale * 8**0.5 if scale else 1), k, v, pack, causal=False, window=None)
    torch.testing.assert_close(ours, known, atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [15, 16, 100])
def test_many_short_texts_are_attended_some_at_a_time(length: int) -> None:
    pack, tokens = pack_of((length,) * 40), 40 * length
    q, k, v = draw(tokens, 32), draw(tokens, 32).flip(0), draw(tokens, 32) * 2
    ours = attend(q, k, v, pack)
    known = by_hand(q, k, v, pack, causal=False, window=None)
    torch.testing.assert_close(ours, known, atol=1e-5, rtol=0)


@pytest.mark.parametrize("causal", [False, True])
def test_a_long_text_under_a_window_is_attended_in_chunks(causal: bool) -> None:
    pack, tokens = pack_of((1300,)), 1300
    q, k, v = draw(tokens, 2), draw(tokens, 1), draw(tokens, 1) * 2
    ours = attend(q, k, v, pack, causal=causal, window=40)
    torch.testing.assert_close(ours, by_hand(q, k, v, pack, causal, 40), atol=1e-5, rtol=0)


def test_the_scale_of_the_scores_can_be_given() -> None:
    pack = pack_of((6,))
    q, k, v = draw(6, 2), draw(6, 2), draw(6, 2) * 2
    assert torch.allclose(
        attend(q, k, v, pack, scale=1.0), attend(q * 8**0.5, k, v, pack), atol=1e-5
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("causal", "window"), [(False, None), (True, None), (False, 64)])
def test_the_kernel_for_gpus_gives_what_the_processor_gives(
    causal: bool, window: int | None
) -> None:
    lengths = (300, 17, 17, 128)
    parts = [torch.randn(sum(lengths), heads, 64) for heads in (8, 4, 4)]
    on_cpu = attend(*parts, pack_of(lengths), causal=causal, window=window)
    halves = [part.to("cuda", torch.bfloat16) for part in parts]
    on_gpu = attend(*halves, pack_of(lengths, "cuda"), causal=causal, window=window)
    torch.testing.assert_close(on_gpu.float().cpu(), on_cpu, atol=3e-2, rtol=0)


def test_a_cpu_does_not_wait_for_torchs_compiler() -> None:
    code = "import sys, smart_embedder.runtime.attention; print('torch._dynamo' in sys.modules)"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "False"
