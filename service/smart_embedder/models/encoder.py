"""The post-norm transformer encoder of BERT and XLM-RoBERTa, over packed texts.

It turns token ids into hidden states; what is made of them (pooling, heads) is the families' own.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch.nn import functional

from smart_embedder.errors import ModelLoadFailed
from smart_embedder.models.model import Checkpoint
from smart_embedder.runtime.attention import attend
from smart_embedder.runtime.devices import INT8, Device
from smart_embedder.runtime.linear import make_linear
from smart_embedder.runtime.norm import Norm
from smart_embedder.runtime.packing import Pack
from smart_embedder.runtime.weights import Weights

_ROBERTAS = ("xlm-roberta", "roberta")
_TYPICAL = 8, 32
"""Texts and tokens that int8 linears settle on; four times as many settle them no better."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The facts of a `config.json` that the forward pass depends on."""

    width: int
    layers: int
    heads: int
    epsilon: float
    vocabulary: int
    first_position: int
    """RoBERTa counts positions from behind its padding id, BERT from 0."""
    positions: int
    """Longest text: rows of the position table that texts may use."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the shape of the encoder in a folder; refuses one it would compute wrongly."""
        config = read_config(folder)
        try:
            return cls._of(config)
        except KeyError as error:
            raise ModelLoadFailed(
                f"{folder}/config.json says no {error}", field="config"
            ) from error

    @classmethod
    def _of(cls, config: dict[str, Any]) -> Self:
        if config.get("hidden_act", "gelu") != "gelu":
            raise ModelLoadFailed("only gelu encoders are known", value=config["hidden_act"])
        if config.get("position_embedding_type", "absolute") != "absolute":
            raise ModelLoadFailed("only absolute positions are known", field="config")
        first = config["pad_token_id"] + 1 if config["model_type"] in _ROBERTAS else 0
        return cls(
            config["hidden_size"],
            config["num_hidden_layers"],
            config["num_attention_heads"],
            config.get("layer_norm_eps", 1e-12),
            config["vocab_size"],
            first,
            config["max_position_embeddings"] - first,
        )


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """Read one of the JSON files of a model folder."""
    try:
        found: dict[str, Any] = json.loads((folder / name).read_text())
    except (OSError, ValueError) as error:
        raise ModelLoadFailed(f"{folder}/{name} is not readable: {error}", field=name) from error
    return found


def read_optional(folder: Path, name: str) -> dict[str, Any]:
    """Read a JSON file that not every folder has."""
    return read_config(folder, name) if (folder / name).is_file() else {}


class Encoder:
    """Embeddings and layers, ready on a device."""

    def __init__(
        self, weights: Weights, shape: Shape, *, dtype: torch.dtype, device: Device
    ) -> None:
        self._shape = shape
        self.compute_dtype = torch.float32 if dtype == INT8 else dtype
        tables = weights.under("embeddings.")
        self._words = tables["word_embeddings.weight"].to(device.torch, self.compute_dtype)
        # Every text is of token type 0 throughout: its row is part of each position's.
        positions = tables["position_embeddings.weight"] + tables["token_type_embeddings.weight"][0]
        self._positions = positions[shape.first_position :].to(device.torch, self.compute_dtype)
        self._norm = _norm(tables.under("LayerNorm."), shape, device)
        layers = (
            _Layer(weights.under(f"encoder.layer.{index}."), shape, dtype, device)
            for index in range(shape.layers)
        )
        self._layers = list(self._settled(layers) if dtype == INT8 else layers)

    def __call__(
        self, pack: Pack, checkpoint: Checkpoint, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """Give the last hidden states, tokens x width; another dtype is for a second try."""
        x = self._embed(pack, dtype)
        for layer in self._layers:
            checkpoint()
            x = layer(x, pack)
        checkpoint()
        return x

    def _embed(self, pack: Pack, dtype: torch.dtype | None = None) -> torch.Tensor:
        x = functional.embedding(pack.ids, self._words).to(dtype or self.compute_dtype)
        return self._norm(x.add_(functional.embedding(pack.positions, self._positions)))

    def _settled(self, layers: Iterable["_Layer"]) -> Iterator["_Layer"]:
        """Show each layer typical states as soon as it is made: its linears settle on them."""
        pack = _typical(self._shape)
        x = self._embed(pack)
        for layer in layers:
            x = layer(x, pack)
            yield layer


def _typical(shape: Shape) -> Pack:
    """Make some texts of random tokens: what all texts have in common shows in any."""
    dice = np.random.default_rng(0)
    length = min(_TYPICAL[1], shape.positions)
    ids = dice.integers(shape.vocabulary, size=(_TYPICAL[0], length), dtype=np.int32)
    return Pack.of(list(ids), torch.device("cpu"))


class _Layer:
    """Attention, then the feed-forward block; each added to what came in, then normalised."""

    def __init__(self, weights: Weights, shape: Shape, dtype: torch.dtype, device: Device) -> None:
        attention = weights.under("attention.")
        three = [attention.under(f"self.{name}.") for name in ("query", "key", "value")]
        weight, bias = (torch.cat([part[kind] for part in three]) for kind in ("weight", "bias"))
        linear = partial(make_linear, dtype=dtype, device=device, settles=True)
        self._qkv = linear(weight, bias)
        self._heads = (3, shape.heads, shape.width // shape.heads)
        mix = attention.under("output.dense.")
        self._mix = linear(mix["weight"], mix["bias"])
        self._mix_norm = _norm(attention.under("output.LayerNorm."), shape, device)
        widen, narrow = weights.under("intermediate.dense."), weights.under("output.dense.")
        self._widen = linear(widen["weight"], widen["bias"], gelu=True)
        self._narrow = linear(narrow["weight"], narrow["bias"])
        self._norm = _norm(weights.under("output.LayerNorm."), shape, device)

    def __call__(self, x: torch.Tensor, pack: Pack) -> torch.Tensor:
        q, k, v = self._qkv(x).view(-1, *self._heads).unbind(1)
        mixed = attend(q, k, v, pack).flatten(1)
        x = self._mix_norm(self._mix(mixed, x))
        return self._norm(self._narrow(self._widen(x), x))


def _norm(weights: Weights, shape: Shape, device: Device) -> Norm:
    return Norm(weights["weight"], weights["bias"], shape.epsilon, device)
