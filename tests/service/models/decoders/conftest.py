"""Tiny Qwen3, Gemma 3 and BERT models in the layout of the real ones, random but far from even."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import save_file

from smart_embedder.models.demo.vocabulary import END, TURN_END, byte_level, unigram

WIDTH, HEADS, KEY_HEADS, HEAD, INNER = 48, 4, 2, 16, 80
ORACLE = Path(__file__).with_name("oracle.py")

Tensors = dict[str, torch.Tensor]
Change = Callable[[Tensors], None]
Arrays = dict[str, np.ndarray[Any, Any]]


def unchanged(_: Tensors) -> None:
    """Leave the tensors as they are."""


class _Dice:
    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def linear(self, out: int, width: int, strength: float = 1.0) -> torch.Tensor:
        return torch.randn(out, width, generator=self._generator) * strength / width**0.5

    def gain(self, size: int, middle: float) -> torch.Tensor:
        return middle + torch.randn(size, generator=self._generator) * 0.1


def _decoder(dice: _Dice, vocabulary: int, layers: int, *, gemma: bool) -> Tensors:
    # Gemma stores its gains less one.
    gain = partial(dice.gain, middle=0.0 if gemma else 1.0)
    tensors = {
        "embed_tokens.weight": dice.linear(vocabulary, WIDTH, WIDTH**0.5),
        "norm.weight": gain(WIDTH),
    }
    norms = ["input_layernorm", "post_attention_layernorm"]
    norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"] if gemma else []
    for index in range(layers):
        layer = f"layers.{index}"
        tensors |= {
            f"{layer}.self_attn.q_proj.weight": dice.linear(HEADS * HEAD, WIDTH),
            f"{layer}.self_attn.k_proj.weight": dice.linear(KEY_HEADS * HEAD, WIDTH),
            f"{layer}.self_attn.v_proj.weight": dice.linear(KEY_HEADS * HEAD, WIDTH),
            f"{layer}.self_attn.o_proj.weight": dice.linear(WIDTH, HEADS * HEAD),
            f"{layer}.self_attn.q_norm.weight": gain(HEAD),
            f"{layer}.self_attn.k_norm.weight": gain(HEAD),
            f"{layer}.mlp.gate_proj.weight": dice.linear(INNER, WIDTH),
            f"{layer}.mlp.up_proj.weight": dice.linear(INNER, WIDTH),
            f"{layer}.mlp.down_proj.weight": dice.linear(WIDTH, INNER),
        }
        tensors |= {f"{layer}.{norm}.weight": gain(WIDTH) for norm in norms}
    return tensors


def _config(tokenizer: tokenizers.Tokenizer, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": WIDTH,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "head_dim": HEAD,
        "intermediate_size": INNER,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
        **more,
    }


def _write(
    folder: Path,
    tokenizer: tokenizers.Tokenizer,
    facts: dict[str, Any],
    config: dict[str, Any],
    tensors: Tensors,
) -> Path:
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def _modules(folder: Path, *kinds: tuple[str, dict[str, Any] | None]) -> None:
    """Write modules.json and a config for each module after the transformer."""
    listed = []
    for index, (kind, config) in enumerate([("Transformer", None), *kinds]):
        path = f"{index}_{kind}" if index else ""
        kind_path = f"sentence_transformers.models.{kind}"
        listed.append({"idx": index, "name": str(index), "path": path, "type": kind_path})
        if index:
            (folder / path).mkdir(exist_ok=True)
        if config is not None:
            (folder / path / "config.json").write_text(json.dumps(config))
    (folder / "modules.json").write_text(json.dumps(listed))


def _pooling(mode: str) -> dict[str, Any]:
    return {"word_embedding_dimension": WIDTH, f"pooling_mode_{mode}": True}


def _dense(
    folder: Path, dice: _Dice, *, at: int, out: int, width: int, activation: str
) -> dict[str, Any]:
    path = folder / f"{at}_Dense"
    path.mkdir(exist_ok=True)
    tensors = {"linear.weight": dice.linear(out, width)}
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    kind = f"torch.nn.modules.{activation}"
    return {"in_features": width, "out_features": out, "bias": False, "activation_function": kind}


QWEN3 = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "num_hidden_layers": 3,
    "hidden_act": "silu",
    "rope_theta": 1000000,
    "tie_word_embeddings": True,
}
QWEN3_TOKENS = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": TURN_END, "pad_token": END}


@pytest.fixture(scope="session")
def write_qwen3_embedding(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a tiny Qwen3-Embedding; `change` may edit its tensors."""

    def write(change: Change = unchanged) -> Path:
        tokenizer = byte_level(ends=True)
        tensors = _decoder(_Dice(3), tokenizer.get_vocab_size(), 3, gemma=False)
        change(tensors)
        folder = tmp_path_factory.mktemp("qwen3-embedding")
        _modules(folder, ("Pooling", _pooling("lasttoken")), ("Normalize", None))
        return _write(folder, tokenizer, QWEN3_TOKENS, _config(tokenizer, **QWEN3), tensors)

    return write


@pytest.fixture(scope="session")
def write_qwen3_reranker(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a tiny Qwen3-Reranker, its answers' rows tied or not."""

    def write(change: Change = unchanged, *, tied: bool = True) -> Path:
        tokenizer = byte_level(ends=False)
        dice = _Dice(5)
        decoder = _decoder(dice, tokenizer.get_vocab_size(), 3, gemma=False)
        tensors = {f"model.{name}": tensor for name, tensor in decoder.items()}
        if not tied:
            tensors["lm_head.weight"] = dice.linear(tokenizer.get_vocab_size(), WIDTH)
        change(tensors)
        config = _config(tokenizer, **(QWEN3 | {"tie_word_embeddings": tied}))
        folder = tmp_path_factory.mktemp("qwen3-reranker")
        return _write(folder, tokenizer, QWEN3_TOKENS, config, tensors)

    return write


@pytest.fixture(scope="session")
def write_gemma(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a tiny EmbeddingGemma: both ways, near and far layers, two dense layers, prompts."""

    def write(change: Change = unchanged) -> Path:
        tokenizer = unigram()
        dice = _Dice(9)
        tensors = _decoder(dice, tokenizer.get_vocab_size(), 4, gemma=True)
        change(tensors)
        folder = tmp_path_factory.mktemp("gemma")
        _modules(
            folder,
            ("Pooling", _pooling("mean_tokens")),
            (
                "Dense",
                _dense(folder, dice, at=2, out=96, width=WIDTH, activation="linear.Identity"),
            ),
            (
                "Dense",
                _dense(folder, dice, at=3, out=WIDTH, width=96, activation="activation.Tanh"),
            ),
            ("Normalize", None),
        )
        (folder / "config_sentence_transformers.json").write_text(
            json.dumps(
                {
                    "prompts": {"query": "task: search | query: ", "document": "title: none | "},
                    "default_prompt_name": "document",
                }
            )
        )
        config = _config(
            tokenizer,
            model_type="gemma3_text",
            architectures=["Gemma3TextModel"],
            num_hidden_layers=4,
            layer_types=["sliding_attention", "full_attention"] * 2,
            sliding_window=16,
            use_bidirectional_attention=True,
            hidden_activation="gelu_pytorch_tanh",
            query_pre_attn_scalar=20,
            rope_theta=1000000.0,
            rope_local_base_freq=10000.0,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
        )
        facts = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}
        return _write(folder, tokenizer, facts, config, tensors)

    return write


@pytest.fixture(scope="session")
def ask_card(ask_oracle: Callable[..., Arrays]) -> Callable[..., Arrays]:
    """Run a model card's recipe on a folder, in a process of its own."""
    return partial(ask_oracle, script=ORACLE)
