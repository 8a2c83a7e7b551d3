"""XLM-RoBERTa cross-encoders (bge-reranker-v2-m3, -base, -large): a pair in, one raw logit out."""

from pathlib import Path

import torch
from torch.nn import functional

from smart_embedder.errors import ModelLoadFailed
from smart_embedder.models.encoder import Encoder, Shape, read_config
from smart_embedder.models.model import Card, Output
from smart_embedder.models.scoring import ScoreModel
from smart_embedder.models.tokenization import Tokenizer
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device, dtype_name, resolve_dtype
from smart_embedder.runtime.linear import make_linear
from smart_embedder.runtime.packing import Pack
from smart_embedder.runtime.weights import Weights, revision_of


def load(folder: Path, options: ModelOptions, device: Device) -> ScoreModel:
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
    read = _Classifier(weights, backbone, device)
    return ScoreModel(card, tokenizer, encoder, read, device=device)


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

    def __call__(self, hidden: torch.Tensor, pack: Pack) -> torch.Tensor:
        states = hidden[pack.first].float()
        return self._outer(functional.tanh(self._inner(states))).squeeze(-1)
