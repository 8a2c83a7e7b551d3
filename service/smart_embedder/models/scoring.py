"""Models that give one score for a pair: a backbone, and what reads a number off its states.

The families that load such models say which; this is what they have in common.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from smart_embedder.errors import EmbedderError
from smart_embedder.models.dense import Backbone
from smart_embedder.models.model import Card, Checkpoint, Floats, Ids, Output, Vectors
from smart_embedder.models.reading import ReadsPairs
from smart_embedder.models.tokenization import Tokenizer
from smart_embedder.runtime.devices import Device
from smart_embedder.runtime.guard import finite_texts, run_guarded
from smart_embedder.runtime.packing import Pack

Read = Callable[[torch.Tensor, Pack], torch.Tensor]
"""Reads one number a pair off the last states, in fp32."""


class ScoreModel(ReadsPairs):
    """A backbone and what reads it."""

    def __init__(
        self, card: Card, tokenizer: Tokenizer, backbone: Backbone, read: Read, *, device: Device
    ) -> None:
        super().__init__(card, tokenizer)
        self._backbone = backbone
        self._read = read
        self._device = device

    def forward(
        self,
        batch: Sequence[Ids],
        wanted: Sequence[Output],  # noqa: ARG002 - the seam's name; there is only the score
        checkpoint: Checkpoint,
    ) -> list[Vectors | EmbedderError]:
        """Run one packed pass."""

        def run(chosen: list[int], dtype: torch.dtype) -> list[Vectors | None]:
            pack = Pack.of([batch[index] for index in chosen], self._device.torch)
            hidden = self._backbone(pack, checkpoint, dtype)
            scores: Floats = self._read(hidden, pack).cpu().numpy()
            finite = finite_texts(len(scores), scores, np.arange(len(scores)))
            pairs = zip(scores.tolist(), finite, strict=True)
            return [Vectors(score=score) if good else None for score, good in pairs]

        return run_guarded([len(ids) for ids in batch], run, self._backbone.compute_dtype)

    def close(self) -> None:
        """Give the memory back."""
        del self._backbone, self._read
