"""The reference engine: BGE-M3 and the BGE rerankers computed by FlagEmbedding itself.

An oracle to compare with and something to fall back on, not fast: texts are padded to the longest
of their batch, as that library does. Tokens are counted and cut as everywhere else here.
"""

from collections.abc import Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from smart_embedder.errors import EmbedderError, ModelLoadFailed
from smart_embedder.models.encoder import Shape
from smart_embedder.models.model import Card, Checkpoint, Floats, Ids, Output, Vectors
from smart_embedder.models.reading import ReadsPairs, ReadsTexts
from smart_embedder.models.tokenization import Tokenizer
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import INT8, Device, dtype_name, resolve_dtype
from smart_embedder.runtime.guard import run_guarded
from smart_embedder.runtime.weights import revision_of

_PAD = 1
_UNWEIGHTED = (0, _PAD, 2, 3)
"""XLM-RoBERTa's `<s>`, `<pad>`, `</s>` and `<unk>`: in no lexical vector."""

Padded = dict[str, torch.Tensor]


def load(folder: Path, options: ModelOptions, device: Device) -> "ReferenceM3 | ReferenceReranker":
    """Load a BGE-M3 or a BGE reranker through FlagEmbedding."""
    try:
        import FlagEmbedding  # noqa: PLC0415 - an extra that only this engine needs
    except ImportError as error:
        raise ModelLoadFailed(
            "engine flagembedding needs an extra: pip install smart-embedder[reference]"
        ) from error
    dtype = resolve_dtype(options.dtype, device)
    if dtype == INT8:
        raise ModelLoadFailed("engine flagembedding has no int8", field="dtype", value="int8")
    if options.pooling not in {None, "cls"}:
        raise ModelLoadFailed("engine flagembedding pools by cls", value=options.pooling)
    shape = Shape.read(folder)
    tokenizer = Tokenizer.load(
        folder, max_tokens=min(options.max_tokens or shape.positions, shape.positions)
    )
    embeds = (folder / "sparse_linear.pt").is_file()
    card = Card(
        name=options.name,
        family="bge-m3" if embeds else "cross-encoder",
        revision=revision_of(folder),
        outputs=Output.DENSE | Output.SPARSE | Output.COLBERT if embeds else Output.SCORE,
        dtype=dtype_name(dtype),
        engine="flagembedding",
        pooling="cls",
        max_tokens=tokenizer.max_tokens,
        dimensions=shape.width if embeds else 0,
        vocabulary=shape.vocabulary,
    )
    kind = FlagEmbedding.BGEM3FlagModel if embeds else FlagEmbedding.FlagReranker
    more = {"normalize_embeddings": False} if embeds else {}
    loaded = kind(str(folder), use_fp16=False, devices=str(device), **more)
    network = loaded.model.to(device.torch, dtype).eval()
    return (ReferenceM3 if embeds else ReferenceReranker)(card, tokenizer, network, device)


class ReferenceM3(ReadsTexts):
    """FlagEmbedding's M3 module."""

    def __init__(self, card: Card, tokenizer: Tokenizer, network: Any, device: Device) -> None:
        super().__init__(card, tokenizer)
        self._network = network
        self._device = device

    def forward(
        self, batch: Sequence[Ids], wanted: Sequence[Output], checkpoint: Checkpoint
    ) -> list[Vectors | EmbedderError]:
        """Run one padded pass for all that any text wants."""
        every = reduce(or_, wanted)

        def run(chosen: list[int], dtype: torch.dtype) -> list[Vectors | None]:
            checkpoint()
            found = self._network.to(dtype)(
                _padded([batch[index] for index in chosen], self._device),
                return_dense=Output.DENSE in every,
                return_sparse=Output.SPARSE in every,
                return_colbert_vecs=Output.COLBERT in every,
            )
            self._network.to(getattr(torch, self.card.dtype))
            checkpoint()
            return [
                _vectors(found, row, batch[index], wanted[index])
                for row, index in enumerate(chosen)
            ]

        return run_guarded([len(ids) for ids in batch], run, getattr(torch, self.card.dtype))

    def close(self) -> None:
        """Give the memory back."""
        del self._network


class ReferenceReranker(ReadsPairs):
    """FlagEmbedding's cross-encoder."""

    def __init__(self, card: Card, tokenizer: Tokenizer, network: Any, device: Device) -> None:
        super().__init__(card, tokenizer)
        self._network = network
        self._device = device

    def forward(
        self,
        batch: Sequence[Ids],
        wanted: Sequence[Output],  # noqa: ARG002 - the seam's name; there is only the score
        checkpoint: Checkpoint,
    ) -> list[Vectors | EmbedderError]:
        """Score every pair in one padded pass."""

        def run(chosen: list[int], dtype: torch.dtype) -> list[Vectors | None]:
            checkpoint()
            padded = _padded([batch[index] for index in chosen], self._device)
            scores = self._network.to(dtype)(**padded).logits.view(-1).float().tolist()
            self._network.to(getattr(torch, self.card.dtype))
            checkpoint()
            return [Vectors(score=score) if np.isfinite(score) else None for score in scores]

        return run_guarded([len(ids) for ids in batch], run, getattr(torch, self.card.dtype))

    def close(self) -> None:
        """Give the memory back."""
        del self._network


def _padded(batch: Sequence[Ids], device: Device) -> Padded:
    """Pad on the right, as the library's own collation does."""
    ids = [torch.from_numpy(text.astype(np.int64)) for text in batch]
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=_PAD)
    lengths = torch.tensor([len(text) for text in ids])
    mask = torch.arange(padded.shape[1])[None] < lengths[:, None]
    return {"input_ids": padded.to(device.torch), "attention_mask": mask.long().to(device.torch)}


def _vectors(found: dict[str, torch.Tensor], row: int, ids: Ids, wanted: Output) -> Vectors | None:
    """Take one text's share of the outputs; None where it is not finite."""
    dense = sparse = by_token = colbert = None
    names: Ids | None = None
    if Output.DENSE in wanted:
        dense = _numbers(found["dense_vecs"][row])
    if Output.SPARSE in wanted:
        weights = _numbers(found["sparse_vecs"][row, : len(ids), 0])
        names, sparse = _strongest(ids, weights)
        by_token = weights[1:-1]
    if Output.COLBERT in wanted:
        states = found["colbert_vecs"][row, : len(ids) - 1].float()
        colbert = _numbers(functional.normalize(states, dim=-1))
    finite = all(np.isfinite(part).all() for part in (dense, sparse, colbert) if part is not None)
    return Vectors(dense, names, sparse, by_token, colbert) if finite else None


def _strongest(ids: Ids, weights: Floats) -> tuple[Ids, Floats]:
    """Keep the strongest weight of each id, the ids in order; NaN is kept to be noticed."""
    kept = ~(weights <= 0) & ~np.isin(ids, _UNWEIGHTED)
    names, place = np.unique(ids[kept], return_inverse=True)
    strongest = np.zeros(len(names), np.float32)
    np.maximum.at(strongest, place, weights[kept])
    return names, strongest


def _numbers(tensor: torch.Tensor) -> Floats:
    numbers: Floats = tensor.float().cpu().numpy()
    return numbers
