"""Tiny models of the real architectures as folders, and the oracle that reads them elsewhere."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import save_file
from tokenizers import decoders, models, pre_tokenizers, processors

WIDTH, LAYERS, HEADS, INNER, POSITIONS = 48, 3, 4, 96, 514
ORACLE = Path(__file__).with_name("oracle.py")
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")

Tensors = dict[str, torch.Tensor]
Oracle = Callable[..., dict[str, np.ndarray[Any, Any]]]


def _tokenizer() -> tokenizers.Tokenizer:
    """XLM-RoBERTa's kind: Unigram with a metaspace, here over letters and a few pairs of them."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?!"
    pieces = ["▁", *letters, *(a + b for a in "aeiou" for b in letters[:26])]
    scored = [(token, 0.0) for token in SPECIALS] + [
        (piece, -float(len(pieces))) for piece in pieces
    ]
    made = tokenizers.Tokenizer(models.Unigram([*scored, ("<mask>", 0.0)], unk_id=3))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    made.decoder = decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    made.add_special_tokens([*SPECIALS, "<mask>"])
    return made


class _Dice:
    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def linear(self, name: str, out: int, width: int, strength: float = 1.0) -> Tensors:
        return {
            f"{name}.weight": self.normal(out, width, scale=strength / width**0.5),
            f"{name}.bias": self.normal(out, scale=0.1),
        }

    def norm(self, name: str) -> Tensors:
        weight = 1 + self.normal(WIDTH, scale=0.1)
        return {f"{name}.weight": weight, f"{name}.bias": self.normal(WIDTH, scale=0.1)}

    def normal(self, *shape: int, scale: float) -> torch.Tensor:
        return torch.randn(shape, generator=self._generator) * scale


def _backbone(dice: _Dice, vocabulary: int) -> Tensors:
    tensors = {
        "embeddings.word_embeddings.weight": dice.normal(vocabulary, WIDTH, scale=1.0),
        "embeddings.position_embeddings.weight": dice.normal(POSITIONS, WIDTH, scale=0.5),
        "embeddings.token_type_embeddings.weight": dice.normal(1, WIDTH, scale=0.5),
        **dice.norm("embeddings.LayerNorm"),
    }
    for index in range(LAYERS):
        layer = f"encoder.layer.{index}"
        for part in ("query", "key", "value"):
            # Strong enough that attention is far from even: an error there must show.
            tensors |= dice.linear(f"{layer}.attention.self.{part}", WIDTH, WIDTH, 2.0)
        tensors |= dice.linear(f"{layer}.attention.output.dense", WIDTH, WIDTH)
        tensors |= dice.norm(f"{layer}.attention.output.LayerNorm")
        tensors |= dice.linear(f"{layer}.intermediate.dense", INNER, WIDTH)
        tensors |= dice.linear(f"{layer}.output.dense", WIDTH, INNER)
        tensors |= dice.norm(f"{layer}.output.LayerNorm")
    return tensors


def _write(folder: Path, architecture: str, tensors: Tensors, vocabulary: int) -> Path:
    config = {
        "architectures": [architecture],
        "model_type": "xlm-roberta",
        "hidden_act": "gelu",
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
        "vocab_size": vocabulary,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "num_labels": 1,
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    }
    tokens = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>"}
    tokens |= {"unk": "<unk>", "mask": "<mask>"}
    names = {f"{role}_token": token for role, token in tokens.items()}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(names | {"tokenizer_class": "XLMRobertaTokenizerFast", "model_max_length": 512})
    )
    (folder / "special_tokens_map.json").write_text(json.dumps(names))
    _tokenizer().save(str(folder / "tokenizer.json"))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def vocabulary() -> int:
    """How many tokens the tiny tokenizer knows."""
    return _tokenizer().get_vocab_size()


@pytest.fixture(scope="session")
def write_bge_m3(tmp_path_factory: pytest.TempPathFactory, vocabulary: int) -> Callable[..., Path]:
    """Write a tiny BGE-M3; `change` may edit its tensors (those of its heads as well)."""

    def write(change: Callable[[Tensors], None] = lambda _: None) -> Path:
        dice = _Dice(7)
        tensors = _backbone(dice, vocabulary)
        tensors |= dice.linear("sparse", 1, WIDTH) | dice.linear("colbert", WIDTH, WIDTH)
        change(tensors)
        heads = {
            name: {kind: tensors.pop(f"{name}.{kind}") for kind in ("weight", "bias")}
            for name in ("sparse", "colbert")
        }
        root = tmp_path_factory.mktemp("bge-m3")
        folder = _write(root / "model", "XLMRobertaModel", tensors, vocabulary)
        for name, head in heads.items():
            torch.save(head, folder / f"{name}_linear.pt")
        return folder

    return write


@pytest.fixture(scope="session")
def write_cross_encoder(
    tmp_path_factory: pytest.TempPathFactory, vocabulary: int
) -> Callable[..., Path]:
    """Write a tiny XLM-RoBERTa reranker; `change` may edit its tensors."""

    def write(change: Callable[[Tensors], None] = lambda _: None) -> Path:
        dice = _Dice(11)
        backbone = _backbone(dice, vocabulary)
        tensors = {f"roberta.{name}": tensor for name, tensor in backbone.items()}
        tensors |= dice.linear("classifier.dense", WIDTH, WIDTH)
        tensors |= dice.linear("classifier.out_proj", 1, WIDTH, 3.0)
        change(tensors)
        root = tmp_path_factory.mktemp("cross-encoder")
        architecture = "XLMRobertaForSequenceClassification"
        return _write(root / "model", architecture, tensors, vocabulary)

    return write


@pytest.fixture(scope="session")
def ask_oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    """Run one of the oracle's recipes in a process of its own; answers its arrays by name."""

    def ask(
        recipe: str, folder: Path, *, script: Path = ORACLE, **question: Any
    ) -> dict[str, np.ndarray[Any, Any]]:
        out = tmp_path_factory.mktemp("oracle") / "answer.npz"
        subprocess.run(
            [sys.executable, script, recipe, folder, out],
            input=json.dumps(question),
            text=True,
            check=True,
            timeout=290,
        )
        with np.load(out) as answer:
            return dict(answer)

    return ask
