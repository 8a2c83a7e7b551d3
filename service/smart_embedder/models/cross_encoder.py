"""XLM-RoBERTa cross-encoders (bge-reranker-v2-m3, -base, -large): a pair in, one raw logit out."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional

from smart_embedder.errors import EmbedderError, ModelLoadFailed
from smart_embedder.models.encoder import Encoder, Shape, read_config
from smart_embedder.models.model import (
    Card,
    Checkpoint,
    Ids,
    Output,
    Vectors,
)
from smart_embedder.models.reading import ReadsPairs
from smart_embedder.models.scoring import score_pairs
from smart_embedder.models.tokenization import Tokenizer
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device, dtype_name, resolve_dtype
from smart_embedder.runtime.linear import make_linear
from smart_embedder.runtime.packing import Pack
from smart_embedder.runtime.weights import Weights, revision_of


def load(folder: Path, options: ModelOptions, device: Device) -> "CrossEncoder":
    """Load a cross-encoder with one label from a folder."""
    shape = Shape.read(folder)
    dtype = resolve_dtype(options.dtype, device)
    tokenizer = Tokenizer.load(
        folder, max_tokens=min(options.max_tokens or shape.positions, shape.positions)
    )
    card = Card(
        name=options.name,
        family="cross-encoder",
        revision=revision_of(folder),
        outputs=Output.SCORE,
        dtype=dtype_name(dtype),
        engine="packed",
        pooling="cls",
        max_tokens=tokenizer.max_tokens,
        vocabulary=shape.vocabulary,
    )
    weights = Weights.read(folder)
    backbone = f"{read_config(folder)['model_type'].replace('xlm-', '')}."
    encoder = Encoder(weights.under(backbone), shape, dtype=dtype, device=device)
    return CrossEncoder(card, tokenizer, encoder, _Classifier(weights, backbone, device), device)


class _Classifier:
    """Two products with a tanh between them, in fp32, over the state of the first token."""

    def __init__(self, weights: Weights, backbone: str, device: Device) -> None:
        # RoBERTa's own head, or the pooler and classifier that BERT's layout has in its place.
        own = "classifier.dense.weight" in weights
        inner = weights.under("classifier.dense." if own else f"{backbone}pooler.dense.")
        outer = weights.under("classifier.out_proj." if own else "classifier.")
        if len(outer["weight"]) != 1:
            raise ModelLoadFailed(
                "a reranker has one label", field="num_labels", value=len(outer["weight"])
            )
        self._inner, self._outer = (
            make_linear(part["weight"], part["bias"], dtype=torch.float32, device=device)
            for part in (inner, outer)
        )

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        return self._outer(functional.tanh(self._inner(states))).squeeze(-1)


class CrossEncoder(ReadsPairs):
    """The encoder and its classifier."""

    def __init__(
        self,
        card: Card,
        tokenizer: Tokenizer,
        encoder: Encoder,
        classifier: _Classifier,
        device: Device,
    ) -> None:
        super().__init__(card, tokenizer)
        self._encoder = encoder
        self._classifier = classifier
        self._device = device

    def forward(
        self,
        batch: Sequence[Ids],
        wanted: Sequence[Output],  # noqa: ARG002 - the seam's name; there is only the score
        checkpoint: Checkpoint,
    ) -> list[Vectors | EmbedderError]:
        """Score every pair in one packed pass."""
        return score_pairs(batch, self._encoder, self._read, self._device, checkpoint)

    def close(self) -> None:
        """Give the memory back."""
        del self._encoder, self._classifier

    def _read(self, hidden: torch.Tensor, pack: Pack) -> torch.Tensor:
        return self._classifier(hidden[pack.first].float())
