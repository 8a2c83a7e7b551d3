"""The pre-norm transformer of Qwen3 and Gemma 3, over packed texts.

It turns token ids into normalised hidden states. Where the two families differ is data (`Shape`),
read from their `config.json`; what is made of the states is the families' own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch.nn import functional

from smart_embedder.errors import ModelLoadFailed
from smart_embedder.models.encoder import read_config
from smart_embedder.models.model import Checkpoint
from smart_embedder.runtime.attention import attend
from smart_embedder.runtime.devices import INT8, Device
from smart_embedder.runtime.linear import Linear, make_linear
from smart_embedder.runtime.norm import Norm
from smart_embedder.runtime.packing import Pack
from smart_embedder.runtime.sharing import Sharing
from smart_embedder.runtime.weights import Weights

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": functional.silu,
    "gelu_pytorch_tanh": partial(functional.gelu, approximate="tanh"),
}
Rotation = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Attention:
    """How one layer attends."""

    theta: float
    """Base of the rotary frequencies."""
    window: int | None = None
    """A token sees those fewer than this many places away; None is the whole text."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The facts of a `config.json` that the forward pass depends on."""

    width: int
    heads: int
    key_heads: int
    head: int
    epsilon: float
    vocabulary: int
    positions: int
    activation: str
    layers: tuple[Attention, ...]
    causal: bool = True
    sandwich: bool = False
    """Gemma normalises what a block gives, too, stores its gains less one, and scales ids' rows."""
    scale: float | None = None
    """Of attention scores; None is one over the root of the head's width."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the shape of the decoder in a folder; refuses one it would compute wrongly."""
        config = read_config(folder)
        kind = config.get("model_type")
        if kind not in _READERS:
            raise ModelLoadFailed(f"{kind!r} is no decoder this service knows", field="model_type")
        try:
            facts = _common(config) | _READERS[kind](config)
        except KeyError as error:
            raise ModelLoadFailed(
                f"{folder}/config.json says no {error}", field="config"
            ) from error
        if facts["activation"] not in _ACTIVATIONS:
            raise ModelLoadFailed("this activation is not known", value=facts["activation"])
        return cls(**facts)


def _common(config: dict[str, Any]) -> dict[str, Any]:
    if config.get("attention_bias"):
        raise ModelLoadFailed("a decoder with attention biases is not known", field="config")
    heads = config["num_attention_heads"]
    return {
        "width": config["hidden_size"],
        "heads": heads,
        "key_heads": config["num_key_value_heads"],
        "head": config.get("head_dim") or config["hidden_size"] // heads,
        "epsilon": config["rms_norm_eps"],
        "vocabulary": config["vocab_size"],
        "positions": config["max_position_embeddings"],
    }


def _qwen3(config: dict[str, Any]) -> dict[str, Any]:
    if config.get("use_sliding_window"):
        raise ModelLoadFailed("Qwen3 with a sliding window is not known", field="config")
    attention = Attention(_theta(config, None, config.get("rope_theta")))
    layers = (attention,) * config["num_hidden_layers"]
    return {"layers": layers, "activation": config["hidden_act"]}


def _gemma3(config: dict[str, Any]) -> dict[str, Any]:
    both_ways = bool(config.get("use_bidirectional_attention"))
    window = config["sliding_window"]
    local = Attention(
        _theta(config, "sliding_attention", config.get("rope_local_base_freq", 1e4)),
        # Looking both ways, the window counts the tokens on both sides.
        window // 2 + 1 if both_ways else window,
    )
    whole = Attention(_theta(config, "full_attention", config.get("rope_theta", 1e6)))
    pattern = config.get("sliding_window_pattern", 6)
    kinds = config.get("layer_types") or [
        "full_attention" if (index + 1) % pattern == 0 else "sliding_attention"
        for index in range(config["num_hidden_layers"])
    ]
    return {
        "layers": tuple(whole if kind == "full_attention" else local for kind in kinds),
        "activation": config.get("hidden_activation", "gelu_pytorch_tanh"),
        "causal": not both_ways,
        "sandwich": True,
        "scale": config["query_pre_attn_scalar"] ** -0.5,
    }


_READERS = {"qwen3": _qwen3, "gemma3_text": _gemma3}


def _theta(config: dict[str, Any], kind: str | None, older: float | None) -> float:
    """Find the rotary base where this or an older transformers wrote it; refuse stretched ones."""
    ropes = config.get("rope_parameters") or config.get("rope_scaling") or {}
    rope = ropes.get(kind, {}) if kind else ropes
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise ModelLoadFailed("stretched rotary positions are not known", value=rope)
    theta = rope.get("rope_theta", older)
    if theta is None:
        raise ModelLoadFailed("config.json says no rope_theta", field="config")
    return float(theta)


class Decoder:
    """Embeddings, layers and the last norm, ready on a device."""

    def __init__(
        self, weights: Weights, shape: Shape, *, dtype: torch.dtype, device: Device
    ) -> None:
        if "model.embed_tokens.weight" in weights:
            weights = weights.under("model.")
        self.shape = shape
        self.compute_dtype = torch.float32 if dtype == INT8 else dtype
        self.words = weights["embed_tokens.weight"].to(device.torch, self.compute_dtype)
        self._norm = _norm(weights.under("norm."), shape, device)
        self._layers = [
            _Layer(weights.under(f"layers.{index}."), shape, attention, dtype, device)
            for index, attention in enumerate(shape.layers)
        ]

    def __call__(
        self, pack: Pack, checkpoint: Checkpoint, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """Give the last hidden states, tokens x width; another dtype is for a second try."""
        sharing = Sharing.of(pack) if self.shape.causal else None
        ids, positions = pack.ids, pack.positions
        if sharing:
            ids, positions = ids[sharing.kept], positions[sharing.kept]
        x = functional.embedding(ids, self.words).to(dtype or self.compute_dtype)
        if self.shape.sandwich:
            x *= torch.tensor(self.shape.width**0.5, dtype=x.dtype)  # rounded as Gemma rounds it
        rotations = {
            theta: _rotation(positions, theta, self.shape.head, x.dtype)
            for theta in {attention.theta for attention in self.shape.layers}
        }
        for layer in self._layers:
            checkpoint()
            x = layer(x, pack, rotations[layer.theta], sharing)
        checkpoint()
        x = self._norm(x)
        return x[sharing.spread] if sharing else x


class _Layer:
    """Attention, then the gated feed-forward block, each over a normalised copy of its input."""

    def __init__(
        self,
        weights: Weights,
        shape: Shape,
        attention: Attention,
        dtype: torch.dtype,
        device: Device,
    ) -> None:
        def fused(*names: str) -> torch.Tensor:
            return torch.cat([weights[f"{name}.weight"] for name in names])

        def norm(name: str) -> Norm:
            return _norm(weights.under(f"{name}."), shape, device)

        linear = partial(make_linear, bias=None, dtype=dtype, device=device)
        self.theta = attention.theta
        self._attend = partial(
            attend, causal=shape.causal, window=attention.window, scale=shape.scale
        )
        self._activation = _ACTIVATIONS[shape.activation]
        self._heads = [shape.heads, shape.key_heads, shape.key_heads]
        self._head = shape.head
        self._qkv = linear(fused(*(f"self_attn.{part}_proj" for part in "qkv")))
        self._mix = linear(weights["self_attn.o_proj.weight"])
        self._widen = linear(fused("mlp.gate_proj", "mlp.up_proj"))
        self._narrow = linear(weights["mlp.down_proj.weight"])
        self._q_norm, self._k_norm = norm("self_attn.q_norm"), norm("self_attn.k_norm")
        self._norm = norm("input_layernorm")
        after = "pre_feedforward_layernorm" if shape.sandwich else "post_attention_layernorm"
        self._second_norm = norm(after)
        self._closing = (
            [norm("post_attention_layernorm"), norm("post_feedforward_layernorm")]
            if shape.sandwich
            else [None, None]
        )

    def __call__(
        self, x: torch.Tensor, pack: Pack, rotation: Rotation, sharing: Sharing | None
    ) -> torch.Tensor:
        three = self._qkv(self._norm(x)).view(len(x), -1, self._head)
        q, k, v = torch.split(three, self._heads, dim=1)
        q = _rotate(self._q_norm(q), rotation)
        k = _rotate(self._k_norm(k), rotation)
        mixed = (
            sharing.attend(self._attend, q, k, v, pack) if sharing else self._attend(q, k, v, pack)
        ).flatten(1)
        x = _added(x, self._mix, mixed, self._closing[0])
        gate, up = self._widen(self._second_norm(x)).chunk(2, dim=-1)
        return _added(x, self._narrow, self._activation(gate).mul_(up), self._closing[1])


def _added(x: torch.Tensor, linear: Linear, inner: torch.Tensor, norm: Norm | None) -> torch.Tensor:
    """Add a block's product to the stream, normalised first where the family does so."""
    return linear(inner, x) if norm is None else norm(linear(inner)).add_(x)


def _norm(weights: Weights, shape: Shape, device: Device) -> Norm:
    """Gemma's gain is what it adds to 1."""
    return Norm(weights["weight"].float() + float(shape.sandwich), None, shape.epsilon, device)


def _rotation(positions: torch.Tensor, theta: float, head: int, dtype: torch.dtype) -> Rotation:
    """Give cosines and sines for every token, in fp32 until they are right."""
    powers = torch.arange(0, head, 2, dtype=torch.float32, device=positions.device) / head
    angles = positions[:, None].float() * (1.0 / theta**powers)
    angles = torch.cat([angles, angles], dim=-1)[:, None]
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _rotate(x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    cosines, sines = rotation
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat([-second, first], dim=-1) * sines
