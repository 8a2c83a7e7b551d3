"""One packed pass that ends in a score for each pair. Knows no family."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from smart_embedder.errors import EmbedderError
from smart_embedder.models.decoder import Decoder
from smart_embedder.models.encoder import Encoder
from smart_embedder.models.model import Checkpoint, Floats, Ids, Vectors
from smart_embedder.runtime.devices import Device
from smart_embedder.runtime.guard import finite_texts, run_guarded
from smart_embedder.runtime.packing import Pack

Read = Callable[[torch.Tensor, Pack], torch.Tensor]
"""Reads one number a pair off the last states."""


def score_pairs(
    batch: Sequence[Ids],
    transformer: Encoder | Decoder,
    read: Read,
    device: Device,
    checkpoint: Checkpoint,
) -> list[Vectors | EmbedderError]:
    """Score every pair; one that is not finite fails alone."""

    def run(chosen: list[int], dtype: torch.dtype) -> list[Vectors | None]:
        pack = Pack.of([batch[index] for index in chosen], device.torch)
        scores: Floats = read(transformer(pack, checkpoint, dtype), pack).cpu().numpy()
        finite = finite_texts(len(scores), scores, np.arange(len(scores)))
        pairs = zip(scores.tolist(), finite, strict=True)
        return [Vectors(score=score) if good else None for score, good in pairs]

    return run_guarded([len(ids) for ids in batch], run, transformer.compute_dtype)
