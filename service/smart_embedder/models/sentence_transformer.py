"""Encoders in the layout of sentence-transformers: `modules.json` says what follows what.

A transformer (BERT, XLM-RoBERTa, Gemma 3 or Qwen3), a pooling, any number of dense layers, and
perhaps a norm, which the engine applies itself because a caller may want to do without it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from smart_embedder.errors import ModelLoadFailed
from smart_embedder.models import decoder, encoder
from smart_embedder.models.dense import PROMPTS_FILE, Backbone, DenseModel, Step
from smart_embedder.models.encoder import read_config, read_optional
from smart_embedder.models.model import Card, Output
from smart_embedder.models.tokenization import Tokenizer
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device, dtype_name, resolve_dtype
from smart_embedder.runtime.linear import make_linear
from smart_embedder.runtime.pooling import check_pooling
from smart_embedder.runtime.weights import Weights, revision_of

_MATRYOSHKA = ("gemma3_text", "qwen3")
_POOLINGS = {"cls_token": "cls", "mean_tokens": "mean", "lasttoken": "last"}
_KNOWN = ("Transformer", "Pooling", "Dense", "Normalize")
_ACTIVATIONS: dict[str, Step] = {"Identity": lambda x: x, "Tanh": torch.tanh}


@dataclass(frozen=True, slots=True)
class Layout:
    """What `modules.json` and the files beside it say."""

    pooling: str
    dense: tuple[Path, ...]
    normalizes: bool
    max_tokens: int | None
    lower_case: bool
    prompts: dict[str, str]
    """What may be set before a text, by name."""
    default_prompt: str | None
    """The name of the one for a text of which nothing else is said."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the layout; refuses a module that would be left out."""
        modules = json.loads((folder / "modules.json").read_text())
        named = [(str(module["type"]).rpartition(".")[2], module["path"]) for module in modules]
        unknown = [name for name, _ in named if name not in _KNOWN]
        if unknown or [name for name, _ in named[:2]] != ["Transformer", "Pooling"]:
            raise ModelLoadFailed(
                f"modules.json asks for {', '.join(name for name, _ in named)}; known are a"
                " Transformer, a Pooling, then Dense and Normalize",
                field="modules.json",
            )
        reading = read_optional(folder, "sentence_bert_config.json")
        said = read_optional(folder, PROMPTS_FILE)
        return cls(
            pooling=_pooling(read_config(folder / named[1][1])),
            dense=tuple(folder / path for name, path in named if name == "Dense"),
            normalizes="Normalize" in dict(named),
            max_tokens=reading.get("max_seq_length"),
            lower_case=bool(reading.get("do_lower_case")),
            prompts=said.get("prompts", {}),
            default_prompt=said.get("default_prompt_name"),
        )


def load(folder: Path, options: ModelOptions, device: Device) -> DenseModel:
    """Load a folder whose `modules.json` names only what this service can do."""
    kind = read_config(folder).get("model_type")
    if kind not in _BACKBONES:
        raise ModelLoadFailed(f"{kind!r} is no encoder this service knows", field="model_type")
    layout = Layout.read(folder)
    dtype = resolve_dtype(options.dtype, device, family_allows_fp16=kind in _ENCODERS)
    backbone, width, vocabulary, positions = _BACKBONES[kind](folder, dtype, device)
    longest = options.max_tokens or layout.max_tokens or positions
    tokenizer = Tokenizer.load(
        folder, max_tokens=min(longest, positions), lower_case=layout.lower_case
    )
    steps = [_Dense(path, device) for path in layout.dense]
    card = Card(
        name=options.name,
        family="sentence-transformer",
        revision=revision_of(folder),
        outputs=Output.DENSE,
        dtype=dtype_name(dtype),
        engine="packed",
        pooling=check_pooling(options.pooling or layout.pooling),
        max_tokens=tokenizer.max_tokens,
        dimensions=steps[-1].width if steps else width,
        matryoshka=kind in _MATRYOSHKA,
        vocabulary=vocabulary,
        normalized=layout.normalizes,
        prompts=layout.prompts,
    )
    prompt = layout.prompts.get(layout.default_prompt or "")
    return DenseModel(card, tokenizer, backbone, device=device, steps=steps, prompt=prompt)


class _Dense:
    """One more product over the pooled vector, in fp32, and its activation."""

    def __init__(self, folder: Path, device: Device) -> None:
        config = read_config(folder)
        name = str(config.get("activation_function", "Tanh")).rpartition(".")[2]
        if name not in _ACTIVATIONS or config.get("use_residual"):
            raise ModelLoadFailed(f"{folder.name} is a dense layer of no known kind", value=name)
        weights = Weights.read(folder).under("linear.")
        biased = "bias" in weights
        self.width = len(weights["weight"])
        self._activation = _ACTIVATIONS[name]
        self._linear = make_linear(
            weights["weight"],
            weights["bias"] if biased else None,
            dtype=torch.float32,
            device=device,
        )

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        return self._activation(self._linear(vectors))


def _encoder(folder: Path, dtype: torch.dtype, device: Device) -> tuple[Backbone, int, int, int]:
    shape = encoder.Shape.read(folder)
    backbone = encoder.Encoder(Weights.read(folder), shape, dtype=dtype, device=device)
    return backbone, shape.width, shape.vocabulary, shape.positions


def _decoder(folder: Path, dtype: torch.dtype, device: Device) -> tuple[Backbone, int, int, int]:
    shape = decoder.Shape.read(folder)
    backbone = decoder.Decoder(Weights.read(folder), shape, dtype=dtype, device=device)
    return backbone, shape.width, shape.vocabulary, shape.positions


_ENCODERS = ("bert", "roberta", "xlm-roberta")
_BACKBONES = dict.fromkeys(_ENCODERS, _encoder) | {"gemma3_text": _decoder, "qwen3": _decoder}


def _pooling(config: dict[str, Any]) -> str:
    """Read the one way of pooling, as older and newer files write it."""
    if not config.get("include_prompt", True):
        raise ModelLoadFailed("pooling without the prompt is not known", field="include_prompt")
    marks = [key.removeprefix("pooling_mode_") for key, on in config.items() if on is True]
    modes = [config["pooling_mode"]] if "pooling_mode" in config else marks
    modes = [_POOLINGS.get(mode, mode) for mode in modes if mode != "include_prompt"]
    if len(modes) != 1:
        raise ModelLoadFailed("one way of pooling is needed", field="pooling", value=modes)
    return check_pooling(modes[0])
