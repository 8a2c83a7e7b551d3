"""One vector for each text of a pack, out of the hidden states of its tokens."""

import torch

from smart_embedder.errors import ModelLoadFailed
from smart_embedder.runtime.packing import Pack

POOLINGS = ("cls", "mean", "last")


def check_pooling(pooling: str) -> str:
    """Refuse a way of pooling that is not known."""
    if pooling not in POOLINGS:
        raise ModelLoadFailed(
            f"pooling is one of {', '.join(POOLINGS)}", field="pooling", value=pooling
        )
    return pooling


def pool(hidden: torch.Tensor, pack: Pack, pooling: str) -> torch.Tensor:
    """Give texts x width in fp32."""
    match pooling:
        case "cls":
            return hidden[pack.first].float()
        case "last":
            return hidden[pack.last].float()
        case _:
            lengths = pack.cu_seqlens.diff().long()
            return torch.segment_reduce(hidden.float(), "mean", lengths=lengths, axis=0)
