"""Models that give one dense vector for a text: a backbone, a pooling, perhaps products after it.

The families that load such models say which; this is what they have in common.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch

from smart_embedder.errors import EmbedderError
from smart_embedder.models.model import Card, Checkpoint, Floats, Ids, Output, Vectors
from smart_embedder.models.reading import ReadsTexts
from smart_embedder.models.tokenization import Tokenizer
from smart_embedder.runtime.devices import Device
from smart_embedder.runtime.guard import finite_texts, run_guarded
from smart_embedder.runtime.packing import Pack
from smart_embedder.runtime.pooling import pool

PROMPTS_FILE = "config_sentence_transformers.json"
"""Where a folder says what may be set before a text, and under which name."""


class Backbone(Protocol):
    """Token ids to hidden states: an encoder or a decoder."""

    compute_dtype: torch.dtype

    def __call__(
        self, pack: Pack, checkpoint: Checkpoint, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """Give the last hidden states, tokens x width."""
        ...


Step = Callable[[torch.Tensor], torch.Tensor]
"""Something done to the pooled vectors, in fp32."""


class DenseModel(ReadsTexts):
    """A backbone, its pooling and the steps after it."""

    def __init__(
        self,
        card: Card,
        tokenizer: Tokenizer,
        backbone: Backbone,
        *,
        device: Device,
        steps: Sequence[Step] = (),
        prompt: str | None = None,
    ) -> None:
        super().__init__(card, tokenizer, prompt=prompt)
        self._backbone = backbone
        self._steps = steps
        self._device = device

    def forward(
        self,
        batch: Sequence[Ids],
        wanted: Sequence[Output],  # noqa: ARG002 - the seam's name; there is only dense
        checkpoint: Checkpoint,
    ) -> list[Vectors | EmbedderError]:
        """Run one packed pass."""

        def run(chosen: list[int], dtype: torch.dtype) -> list[Vectors | None]:
            pack = Pack.of([batch[index] for index in chosen], self._device.torch)
            pooled = pool(self._backbone(pack, checkpoint, dtype), pack, self.card.pooling)
            for step in self._steps:
                pooled = step(pooled)
            vectors: Floats = pooled.cpu().numpy()
            finite = finite_texts(len(vectors), vectors, np.arange(len(vectors)))
            # Copies: a view would keep the whole batch alive in the cache.
            pairs = zip(vectors, finite, strict=True)
            return [Vectors(dense=row.copy()) if good else None for row, good in pairs]

        return run_guarded([len(ids) for ids in batch], run, self._backbone.compute_dtype)

    def close(self) -> None:
        """Give the memory back."""
        del self._backbone, self._steps
