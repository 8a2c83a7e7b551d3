"""Attention inside each text of a pack, never across. Knows nothing of layers or weights.

On CUDA in half precision one variable-length kernel takes the whole pack, on the CPU in fp32 our
own. Elsewhere each run of equal lengths is one scaled dot product, whose flash kernel never holds a
length x length matrix; where a window or shared keys would make torch fall back to one that does,
rows go in chunks.
"""

import torch
from torch.nn import functional

from smart_embedder.runtime.packing import Pack, Run
from smart_embedder.runtime.trust import trusted_kernels

_HALF = (torch.float16, torch.bfloat16)
_ROWS = 512
"""Query rows at a time where scores are written out: in fp32 16 heads x 512 x 1,536 of them under a
window are 50 MB."""


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    pack: Pack,
    *,
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
) -> torch.Tensor:
    """Attend each text to itself.

    Args:
        q: Queries, tokens x heads x width.
        k: Keys; they may have fewer heads, each shared by as many query heads.
        v: Values, shaped as the keys.
        pack: Where the texts are.
        causal: A token sees itself and those before it.
        window: A token sees those fewer than this many places away.
        scale: Of the scores; None is one over the root of the width.
    """
    if q.is_cuda and q.dtype in _HALF:
        return _attend_varlen(q, k, v, pack, causal=causal, window=window, scale=scale)
    if q.device.type == "cpu" and q.dtype == torch.float32 and (fast := trusted_kernels()):
        scale = q.shape[2] ** -0.5 if scale is None else scale
        return fast.attention(q, k, v, pack, causal=causal, window=window, scale=scale)
    parts = [
        _attend_run(
            _by_head(q, run), _by_head(k, run), _by_head(v, run),
            causal=causal, window=window, scale=scale,
        ).transpose(1, 2).flatten(0, 1)
        for run in pack.runs
    ]  # fmt: skip
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _attend_run(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    causal: bool,
    window: int | None,
    scale: float | None,
) -> torch.Tensor:
    if window is not None and q.shape[2] > window:
        return _attend_window(q, k, v, causal=causal, window=window, scale=scale)
    shared = q.shape[1] != k.shape[1]
    return functional.scaled_dot_product_attention(
        q, k, v, is_causal=causal, scale=scale, enable_gqa=shared
    )


def _attend_varlen(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    pack: Pack,
    *,
    causal: bool,
    window: int | None,
    scale: float | None,
) -> torch.Tensor:
    # It brings torch's compiler along, which takes as long to import as torch itself.
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - for GPUs alone

    reach = -1 if window is None else window - 1
    # One split: otherwise the longest batch mate decides the order of a text's sums.
    out = varlen_attn(
        q, k, v, pack.cu_seqlens, pack.cu_seqlens, pack.longest, pack.longest,
        scale=scale,
        window_size=(reach, 0 if causal else reach),
        enable_gqa=q.shape[1] != k.shape[1],
        num_splits=1,
    )  # fmt: skip
    return out if isinstance(out, torch.Tensor) else out[0]


def _by_head(part: torch.Tensor, run: Run) -> torch.Tensor:
    """View a run of the pack as texts x heads x length x width."""
    return part[run.tokens].view(run.texts, run.length, *part.shape[1:]).transpose(1, 2)


def _attend_window(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    causal: bool,
    window: int,
    scale: float | None,
) -> torch.Tensor:
    """Attend some rows at a time to the keys within their reach."""
    length = q.shape[2]
    out = torch.empty_like(q)
    places = torch.arange(length, device=q.device)
    shared = q.shape[1] != k.shape[1]
    for start in range(0, length, _ROWS):
        rows = slice(start, min(start + _ROWS, length))
        keys = slice(
            max(0, rows.start - window + 1),
            rows.stop if causal else min(length, rows.stop + window - 1),
        )
        away = places[rows, None] - places[None, keys]
        seen = (away < window) & (away >= (0 if causal else 1 - window))
        out[:, :, rows] = functional.scaled_dot_product_attention(
            q[:, :, rows], k[:, :, keys], v[:, :, keys],
            attn_mask=seen, scale=scale, enable_gqa=shared,
        )  # fmt: skip
    return out
