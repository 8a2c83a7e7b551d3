"""BGE-M3 and bge-reranker-v2-m3 in full shape with random weights, and texts of exact lengths.

Speed does not know the difference between trained weights and random ones; vectors do. Unless a
`std` is given, weights are drawn with one over the root of their width, so that every product keeps
the size of what comes in. transformers draws with 0.02 and biases of zero: products of width 1,024
come out smaller, a layer changes its input less, and int8 does less harm.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import tokenizers
import torch
from safetensors.torch import load_file, save_file
from tokenizers import models, pre_tokenizers, processors
from torch.nn import functional

WIDTH, LAYERS, HEADS, INNER = 1024, 24, 16, 4096
VOCABULARY, POSITIONS = 250_002, 8194
WORDS = 4000
FLOPS_PER_TOKEN = 2 * LAYERS * (4 * WIDTH * WIDTH + 2 * WIDTH * INNER)
"""Of the products with weights alone: attention and heads come on top and are not counted."""

_CONFIG = {
    "model_type": "xlm-roberta",
    "hidden_act": "gelu",
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "max_position_embeddings": POSITIONS,
    "vocab_size": VOCABULARY,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "id2label": {"0": "LABEL_0"},
    "label2id": {"LABEL_0": 0},
    "torch_dtype": "float32",
}
_NAMES = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}


def write(folder: Path, std: float | None = None) -> tuple[Path, Path]:
    """Write both models (2.3 GB each) under a folder, unless they are there; answers where."""
    embedder, reranker = folder / "bge-m3", folder / "bge-reranker-v2-m3"
    if not (reranker / "model.safetensors").is_file():
        dice = torch.Generator().manual_seed(0)
        backbone = _backbone(dice, std)
        _write(embedder, "XLMRobertaModel", backbone)
        for name, out in (("sparse", 1), ("colbert", WIDTH)):
            torch.save(_linear("", out, WIDTH, dice), embedder / f"{name}_linear.pt")
        classifier = _linear("classifier.dense.", WIDTH, WIDTH, dice)
        classifier |= _linear("classifier.out_proj.", 1, WIDTH, dice)
        prefixed = {f"roberta.{name}": tensor for name, tensor in backbone.items()}
        _write(reranker, "XLMRobertaForSequenceClassification", prefixed | classifier)
    return embedder, reranker


def write_layout(folder: Path) -> Path:
    """Write the embedder once more as sentence-transformers lays it out, by links."""
    embedder, _ = write(folder)
    layout = folder / "sentence-transformers"
    (layout / "1_Pooling").mkdir(parents=True, exist_ok=True)
    for file in embedder.glob("*.*"):
        (layout / file.name).unlink(missing_ok=True)
        (layout / file.name).symlink_to(file)
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": path,
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, (path, kind) in enumerate(kinds.items())
    ]
    (layout / "modules.json").write_text(json.dumps(modules))
    pooling = {
        "word_embedding_dimension": WIDTH,
        "pooling_mode_cls_token": True,
        "pooling_mode_mean_tokens": False,
    }
    (layout / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return layout


def texts(lengths: Sequence[int]) -> list[str]:
    """Make texts that have exactly these numbers of tokens, `<s>` and `</s>` included."""
    dice = torch.Generator().manual_seed(1)
    return [
        " ".join(
            f"w{word}" for word in torch.randint(WORDS, (length - 2,), generator=dice).tolist()
        )
        for length in lengths
    ]


def _write(folder: Path, architecture: str, tensors: dict[str, torch.Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(_CONFIG | {"architectures": [architecture]}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            _NAMES | {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192}
        )
    )
    _tokenizer().save(str(folder / "tokenizer.json"))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def _tokenizer() -> tokenizers.Tokenizer:
    """One token a word, so that a length in tokens is a length in words."""
    names = ["<s>", "<pad>", "</s>", "<unk>", *(f"w{word}" for word in range(WORDS)), "<mask>"]
    made = tokenizers.Tokenizer(
        models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>")
    )
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    made.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return made


def _backbone(dice: torch.Generator, std: float | None) -> dict[str, torch.Tensor]:
    tensors = {
        "embeddings.word_embeddings.weight": torch.randn(VOCABULARY, WIDTH, generator=dice),
        "embeddings.position_embeddings.weight": torch.randn(POSITIONS, WIDTH, generator=dice),
        "embeddings.token_type_embeddings.weight": torch.randn(1, WIDTH, generator=dice),
        **_norm("embeddings.LayerNorm."),
    }
    for index in range(LAYERS):
        layer = f"encoder.layer.{index}."
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            tensors |= _linear(f"{layer}attention.{name}.", WIDTH, WIDTH, dice, std)
        tensors |= _norm(f"{layer}attention.output.LayerNorm.")
        tensors |= _linear(f"{layer}intermediate.dense.", INNER, WIDTH, dice, std)
        tensors |= _linear(f"{layer}output.dense.", WIDTH, INNER, dice, std)
        tensors |= _norm(f"{layer}output.LayerNorm.")
    return tensors


def _linear(
    name: str, out: int, width: int, dice: torch.Generator, std: float | None = None
) -> dict[str, torch.Tensor]:
    weight = torch.randn(out, width, generator=dice).mul_(std or width**-0.5)
    bias = torch.randn(out, generator=dice).mul_(0.0 if std else 0.02)
    return {f"{name}weight": weight, f"{name}bias": bias}


def _norm(name: str) -> dict[str, torch.Tensor]:
    return {f"{name}weight": torch.ones(WIDTH), f"{name}bias": torch.zeros(WIDTH)}


def read(folder: Path) -> dict[str, torch.Tensor]:
    """Read the weights back, mapped."""
    return dict(load_file(folder / "model.safetensors"))


class Layers(torch.nn.Module):
    """The encoder above the embeddings, in plain torch, for the graph runtimes to convert."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self._weights = weights

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One text, 1 x tokens x width, no padding."""
        x = self._norm(x, "embeddings.LayerNorm")
        for index in range(LAYERS):
            layer = f"encoder.layer.{index}."
            q, k, v = (
                self._linear(x, f"{layer}attention.self.{name}")
                .view(1, -1, HEADS, WIDTH // HEADS)
                .transpose(1, 2)
                for name in ("query", "key", "value")
            )
            mixed = functional.scaled_dot_product_attention(q, k, v)
            mixed = mixed.transpose(1, 2).reshape(1, -1, WIDTH)
            x = x + self._linear(mixed, f"{layer}attention.output.dense")
            x = self._norm(x, f"{layer}attention.output.LayerNorm")
            wide = functional.gelu(self._linear(x, f"{layer}intermediate.dense"))
            x = x + self._linear(wide, f"{layer}output.dense")
            x = self._norm(x, f"{layer}output.LayerNorm")
        return x

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(x, (WIDTH,), weight, bias, 1e-5)
