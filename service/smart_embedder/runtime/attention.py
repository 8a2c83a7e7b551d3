"""Attention inside each text of a pack, never across. Knows nothing of layers or weights.

On CUDA in half precision one variable-length kernel takes the whole pack. Elsewhere each run of
equal lengths is one scaled dot product, whose flash kernel never holds a length x length matrix;
where a window or shared keys would make torch fall back to one that does, rows go in chunks. Where
texts see themselves whole in fp32 on a CPU, plain products beat that kernel: of all heads at once
for short texts, whose scores a cache holds, and oneDNN's head by head for long ones.
"""

import torch
from torch.nn import functional

from smart_embedder.runtime.linear import prepacked_is_right, product
from smart_embedder.runtime.packing import Pack, Run

_HALF = (torch.float16, torch.bfloat16)
_ROWS = 512
"""Query rows at a time where scores are written out: in fp32 16 heads x 512 x 1,536 of them under a
window are 50 MB, one head x 512 x 8,192 in products 17 MB."""
_LONG = 256
"""Tokens from which oneDNN's products are worth a call for each head: 1.1 times as fast as the
kernel at 320, 1.6 times from 512 on. Below, one product for all heads is 1.05 (250 tokens) to 1.5
times (12 tokens) as fast as the kernel."""
_SCORES = 1 << 18
"""Scores of short texts written out at once: 1 MB, a core's second cache. Four texts of 128 tokens
at once, 4 MB, took a quarter longer than one by one."""
_VECTOR = 16
"""Below so many numbers in a row torch's softmax goes one by one: 3 times as long as by columns."""


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
        q: Queries, tokens x heads x width; rows behind the pack's tokens are given zeros.
        k: Keys; they may have fewer heads, each shared by as many query heads.
        v: Values, shaped as the keys.
        pack: Where the texts are.
        causal: A token sees itself and those before it.
        window: A token sees those fewer than this many places away.
        scale: Of the scores; None is one over the root of the width.
    """
    if q.is_cuda and q.dtype in _HALF:
        return _attend_varlen(q, k, v, pack, causal=causal, window=window, scale=scale)
    parts = [
        _attend_run(
            _by_head(q, run), _by_head(k, run), _by_head(v, run),
            causal=causal, window=window, scale=scale,
        ).transpose(1, 2).flatten(0, 1)
        for run in pack.runs
    ]  # fmt: skip
    if spare := len(q) - len(pack.ids):
        parts.append(q.new_zeros(spare, *q.shape[1:]))
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
    if q.device.type == "cpu" and q.dtype == torch.float32 and not (causal or shared):
        if q.shape[2] < _LONG:
            return _attend_short(q, k, v, scale=scale)
        if prepacked_is_right():
            return _attend_in_products(q, k, v, scale=scale)
    return functional.scaled_dot_product_attention(
        q, k, v, is_causal=causal, scale=scale, enable_gqa=shared
    )


def _attend_short(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, scale: float | None
) -> torch.Tensor:
    """Attend all heads of some texts at a time."""
    _, heads, length, width = q.shape
    q = q * (width**-0.5 if scale is None else scale)
    some = max(1, _SCORES // (heads * length**2))
    if len(q) <= some:
        return _written_out(q, k, v)
    parts = zip(*(torch.split(each, some) for each in (q, k, v)), strict=True)
    return torch.cat([_written_out(*part) for part in parts])


def _written_out(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    if q.shape[2] < _VECTOR:
        return (k @ q.transpose(2, 3)).softmax(dim=2).transpose(2, 3) @ v
    return (q @ k.transpose(2, 3)).softmax(dim=3) @ v


def _attend_in_products(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, scale: float | None
) -> torch.Tensor:
    """Attend every head of every text by itself, some rows at a time."""
    texts, heads, length, width = q.shape
    out = q.new_empty(texts, length, heads, width)
    q = q * (width**-0.5 if scale is None else scale)
    k, v = k.contiguous(), v.transpose(2, 3).contiguous()
    for text in range(texts):
        for head in range(heads):
            for start in range(0, length, _ROWS):
                rows = slice(start, start + _ROWS)
                weights = product(q[text, head, rows].contiguous(), k[text, head]).softmax(dim=-1)
                out[text, rows, head] = product(weights, v[text, head])
    return out.transpose(1, 2)


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
