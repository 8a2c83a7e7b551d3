"""BGE-M3: dense, sparse and ColBERT from one forward pass.

Dense is the first token's state; sparse the strongest weight of each vocabulary id in the text;
ColBERT a vector of length one for every token but the first.
"""

from collections.abc import Sequence
from functools import reduce
from operator import or_
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from smart_embedder.errors import EmbedderError
from smart_embedder.models.encoder import Encoder, Shape
from smart_embedder.models.model import (
    Card,
    Checkpoint,
    Floats,
    Ids,
    Output,
    Vectors,
)
from smart_embedder.models.reading import ReadsTexts
from smart_embedder.models.tokenization import Tokenizer
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device, dtype_name, resolve_dtype
from smart_embedder.runtime.guard import finite_texts, run_guarded
from smart_embedder.runtime.linear import Linear, make_linear
from smart_embedder.runtime.packing import Pack
from smart_embedder.runtime.pooling import check_pooling, pool
from smart_embedder.runtime.weights import Weights, read_file, revision_of

_UNWEIGHTED = ("<s>", "</s>", "<pad>", "<unk>")
"""Tokens that are in no lexical vector (FlagEmbedding leaves out the same)."""


def load(folder: Path, options: ModelOptions, device: Device) -> "BgeM3":
    """Load BGE-M3, or a model of its layout, from a folder."""
    shape = Shape.read(folder)
    dtype = resolve_dtype(options.dtype, device)
    tokenizer = Tokenizer.load(
        folder, max_tokens=min(options.max_tokens or shape.positions, shape.positions)
    )
    card = Card(
        name=options.name,
        family="bge-m3",
        revision=revision_of(folder),
        outputs=Output.DENSE | Output.SPARSE | Output.COLBERT,
        dtype=dtype_name(dtype),
        engine="packed",
        pooling=check_pooling(options.pooling or "cls"),
        max_tokens=tokenizer.max_tokens,
        dimensions=shape.width,
        vocabulary=shape.vocabulary,
    )
    encoder = Encoder(Weights.read(folder), shape, dtype=dtype, device=device)
    sparse, colbert = (
        _head(folder / f"{name}_linear.pt", device) for name in ("sparse", "colbert")
    )
    return BgeM3(card, tokenizer, encoder, sparse=sparse, colbert=colbert, device=device)


def _head(path: Path, device: Device) -> Linear:
    """Read a head; it is computed in fp32 whatever the encoder's dtype, as it costs nothing."""
    weights = Weights(read_file(path))
    return make_linear(weights["weight"], weights["bias"], dtype=torch.float32, device=device)


class BgeM3(ReadsTexts):
    """The encoder and its three heads."""

    def __init__(
        self,
        card: Card,
        tokenizer: Tokenizer,
        encoder: Encoder,
        *,
        sparse: Linear,
        colbert: Linear,
        device: Device,
    ) -> None:
        super().__init__(card, tokenizer)
        self._encoder = encoder
        self._sparse = sparse
        self._colbert = colbert
        self._device = device
        self._unweighted = [tokenizer.id_of(token) for token in _UNWEIGHTED]

    def forward(
        self, batch: Sequence[Ids], wanted: Sequence[Output], checkpoint: Checkpoint
    ) -> list[Vectors | EmbedderError]:
        """Run one packed pass; the heads run once, for all that any text wants."""

        def run(chosen: list[int], dtype: torch.dtype) -> list[Vectors | None]:
            pack = Pack.of([batch[index] for index in chosen], self._device.torch)
            hidden = self._encoder(pack, checkpoint, dtype)
            return self._vectors(hidden, pack, [wanted[index] for index in chosen])

        return run_guarded([len(ids) for ids in batch], run, self._encoder.compute_dtype)

    def close(self) -> None:
        """Give the memory back."""
        del self._encoder, self._sparse, self._colbert

    def _vectors(
        self, hidden: torch.Tensor, pack: Pack, wanted: Sequence[Output]
    ) -> list[Vectors | None]:
        texts, every = len(wanted), reduce(or_, wanted)
        owners = np.repeat(np.arange(texts), pack.lengths)
        finite = np.ones(texts, np.bool_)
        sparse: Sequence[tuple[Ids, Floats]] = ()
        by_token: Sequence[Floats] = ()
        colbert: Sequence[Floats] = ()
        dense: Floats = np.empty((texts, 0), np.float32)
        if Output.DENSE in every:
            dense = _numbers(pool(hidden, pack, self.card.pooling))
            finite &= finite_texts(texts, dense, np.arange(texts))
        if Output.SPARSE in every:
            weights = _numbers(self._sparse(hidden.float()).relu_().squeeze(-1))
            finite &= finite_texts(texts, weights, owners)
            by_token = np.split(weights, pack.starts[1:])
            sparse = self._strongest(pack.ids.cpu().numpy(), weights, owners, texts)
        if Output.COLBERT in every:
            rows = _rows_but_the_first(pack, [Output.COLBERT in outputs for outputs in wanted])
            states = hidden[torch.from_numpy(rows).to(hidden.device)].float()
            vectors = _numbers(functional.normalize(self._colbert(states), dim=-1))
            finite &= finite_texts(texts, vectors, owners[rows])
            colbert = np.split(vectors, np.searchsorted(owners[rows], np.arange(1, texts)))
        return [
            Vectors(
                # Copies: a view would keep the whole batch alive in the cache.
                dense=dense[index].copy() if Output.DENSE in outputs else None,
                sparse_ids=sparse[index][0].copy() if Output.SPARSE in outputs else None,
                sparse_weights=sparse[index][1].copy() if Output.SPARSE in outputs else None,
                token_weights=by_token[index][1:-1].copy() if Output.SPARSE in outputs else None,
                colbert=colbert[index].copy() if Output.COLBERT in outputs else None,
            )
            if finite[index]
            else None
            for index, outputs in enumerate(wanted)
        ]

    def _strongest(
        self, ids: npt.NDArray[np.int64], weights: Floats, owners: npt.NDArray[np.int64], texts: int
    ) -> list[tuple[Ids, Floats]]:
        """Keep the strongest weight of each id of each text, the ids in order."""
        kept = (weights > 0) & ~np.isin(ids, self._unweighted)
        keys = owners[kept] * self.card.vocabulary + ids[kept]
        order = np.argsort(keys, kind="stable")
        distinct, begins = np.unique(keys[order], return_index=True)
        strongest = (
            np.maximum.reduceat(weights[kept][order], begins) if len(begins) else weights[:0]
        )
        cuts = np.searchsorted(distinct, np.arange(1, texts) * self.card.vocabulary)
        names = (distinct % self.card.vocabulary).astype(np.int32)
        return list(zip(np.split(names, cuts), np.split(strongest, cuts), strict=True))


def _rows_but_the_first(pack: Pack, wanting: Sequence[bool]) -> npt.NDArray[np.int64]:
    """Where the tokens of the texts that want them stand, without each text's first."""
    chosen = np.repeat(np.asarray(wanting), pack.lengths)
    chosen[pack.starts] = False
    return np.flatnonzero(chosen)


def _numbers(tensor: torch.Tensor) -> Floats:
    numbers: Floats = tensor.cpu().numpy()
    return numbers
