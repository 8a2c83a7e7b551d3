"""How many tokens one forward pass may hold, from the memory of the device.

The figures are batch sizes of full-length texts by GPU memory; a packed pass counts tokens, so a
size becomes size x length. They are where a pass starts: running out of memory lowers the budget,
and a text longer than the budget always runs alone.
"""

from typing import Literal

from smart_embedder.runtime.devices import Device

Work = Literal["embed", "rerank"]

_GIB = 1 << 30
_SHORT = 512
"""Up to this length a model gets the short profile."""
_LONGEST = 8192
"""The length the table of long texts was made for; longer texts share its tokens."""
_CPU_TOKENS = 1024
"""More tokens make no CPU pass faster per token, only longer for whoever waits behind it."""

# (memory in GiB up to which the row holds, full-length texts in one pass); small GPUs rerank four
# pairs of 4,096 tokens, which are two of 8,192
_TABLES: dict[tuple[Work, bool], list[tuple[float, int]]] = {
    ("embed", False): [(4, 3), (8, 6), (float("inf"), 12)],
    ("embed", True): [(4, 16), (6, 32), (8, 64), (float("inf"), 128)],
    ("rerank", False): [(6, 2), (8, 8), (float("inf"), 16)],
    ("rerank", True): [(6, 32), (8, 64), (float("inf"), 128)],
}


def batch_token_budget(device: Device, max_tokens: int, *, work: Work = "embed") -> int:
    """Tokens of one pass on this device for texts of at most `max_tokens`."""
    if device.total_memory is None:
        return min(max_tokens, _CPU_TOKENS)
    gib = device.total_memory / _GIB
    table = _TABLES[work, max_tokens <= _SHORT]
    texts = next(texts for limit, texts in table if gib <= limit)
    return texts * min(max_tokens, _LONGEST)
