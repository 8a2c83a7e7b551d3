"""Writes the demo models as ordinary Hugging Face folders, once, and finds them again.

A folder is built beside its final place and renamed into it, so that processes that start
together never read half a model. Its name carries the version of the recipe.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from smart_embedder.errors import ModelMissing
from smart_embedder.models.demo import qwen3, xlm_roberta
from smart_embedder.models.demo.vocabulary import END, TURN_END, byte_level, unigram
from smart_embedder.models.demo.wiring import WIDTH, Noise, Weights

PREFIX = "demo/"
VERSION = "1"
"""Raised whenever a demo weight or file changes, so that no cached folder is stale."""

README = """# {name}

Made by Smart Embedder for trying things out. The weights are not trained: they are wired by hand
so that texts sharing words score higher than texts sharing none. Use it for nothing else.
"""


def names() -> list[str]:
    """List the demo models."""
    return list(WRITERS)


def cached(name: str, cache: Path) -> Path:
    """Return the folder of a demo model, written on first use."""
    if name not in WRITERS:
        raise ModelMissing(f"there is no {name!r}; the demo models are {', '.join(WRITERS)}")
    folder = cache / f"{name.removeprefix(PREFIX)}-v{VERSION}"
    if not folder.is_dir():
        _write_whole(name, folder)
    return folder


def write(name: str, folder: Path) -> None:
    """Write a demo model into a folder that exists."""
    WRITERS[name](name, folder)
    (folder / "README.md").write_text(README.format(name=name))


def _write_whole(name: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".demo-", dir=folder.parent))
    try:
        building.chmod(0o755)
        write(name, building)
        building.rename(folder)
    except OSError:
        # Another process put the same folder there first: equally good.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _bge_m3(name: str, folder: Path) -> None:
    tokenizer = unigram()
    noise = Noise(name)
    _xlm_roberta_files(folder, tokenizer, "XLMRobertaModel")
    _save_torch(
        xlm_roberta.backbone(_tokens(tokenizer), noise, sink=0, roles=0.1),
        folder / "pytorch_model.bin",
    )
    sparse, colbert = xlm_roberta.heads(noise)
    _save_torch(sparse, folder / "sparse_linear.pt")
    _save_torch(colbert, folder / "colbert_linear.pt")
    _sentence_transformers_files(folder, width=WIDTH, pooling="cls", max_tokens=8192)


def _cross_encoder(name: str, folder: Path) -> None:
    tokenizer = unigram()
    noise = Noise(name)
    more = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    _xlm_roberta_files(folder, tokenizer, "XLMRobertaForSequenceClassification", more)
    encoder = xlm_roberta.backbone(_tokens(tokenizer), noise, sink=1.5, roles=1)
    weights = {f"roberta.{key}": value for key, value in encoder.items()}
    _save_safetensors(weights | xlm_roberta.classifier(noise), folder)


def _qwen3_embedding(name: str, folder: Path) -> None:
    tokenizer = byte_level(ends=True)
    weights = qwen3.backbone(_tokens(tokenizer), Noise(name), qwen3.EMBEDDER, sink=0, keep=1)
    _qwen3_files(folder, tokenizer)
    _save_safetensors(weights, folder)
    _sentence_transformers_files(folder, width=WIDTH, pooling="lasttoken", max_tokens=32768)


def _qwen3_reranker(name: str, folder: Path) -> None:
    tokenizer = byte_level(ends=False)
    weights = qwen3.backbone(_tokens(tokenizer), Noise(name), qwen3.RERANKER, sink=0.5, keep=0)
    known = tokenizer.get_vocab()
    qwen3.answer(weights, known["yes"], known["no"])
    _qwen3_files(folder, tokenizer)
    _save_safetensors({f"model.{key}": value for key, value in weights.items()}, folder)


WRITERS: dict[str, Callable[[str, Path], None]] = {
    "demo/bge-m3": _bge_m3,
    "demo/bge-reranker-v2-m3": _cross_encoder,
    "demo/qwen3-embedding": _qwen3_embedding,
    "demo/qwen3-reranker": _qwen3_reranker,
}


def _xlm_roberta_files(
    folder: Path, tokenizer: Tokenizer, architecture: str, more: dict[str, object] | None = None
) -> None:
    size = {"architectures": [architecture], "vocab_size": tokenizer.get_vocab_size()}
    _save_json({**xlm_roberta.CONFIG, **size, **(more or {})}, folder / "config.json")
    specials = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>",
                "unk": "<unk>", "mask": "<mask>"}  # fmt: skip
    _save_tokenizer(folder, tokenizer, "XLMRobertaTokenizer", 8192, specials)


def _qwen3_files(folder: Path, tokenizer: Tokenizer) -> None:
    ids = {
        "bos_token_id": tokenizer.token_to_id(END),
        "eos_token_id": tokenizer.token_to_id(TURN_END),
    }
    size = {"vocab_size": tokenizer.get_vocab_size(), **ids}
    _save_json({**qwen3.CONFIG, **size}, folder / "config.json")
    _save_tokenizer(folder, tokenizer, "Qwen2Tokenizer", 131072, {"eos": TURN_END, "pad": END})
    tokenizer.model.save(str(folder))


def _save_tokenizer(
    folder: Path, tokenizer: Tokenizer, kind: str, longest: int, specials: dict[str, str]
) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {f"{role}_token": token for role, token in specials.items()}
    facts = {"tokenizer_class": kind, "model_max_length": longest, **named}
    _save_json(facts, folder / "tokenizer_config.json")
    _save_json(named, folder / "special_tokens_map.json")


def _sentence_transformers_files(
    folder: Path, *, width: int, pooling: str, max_tokens: int
) -> None:
    kinds = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(kinds)
    ]
    _save_json(modules, folder / "modules.json")
    _save_json(
        {"max_seq_length": max_tokens, "do_lower_case": False},
        folder / "sentence_bert_config.json",
    )
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "lasttoken")
    chosen = {f"pooling_mode_{mode}": mode.startswith(pooling) for mode in modes}
    (folder / "1_Pooling").mkdir()
    _save_json({"word_embedding_dimension": width, **chosen}, folder / "1_Pooling" / "config.json")
    (folder / "2_Normalize").mkdir()


def _tokens(tokenizer: Tokenizer) -> list[str]:
    by_id = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return [token for token, _ in by_id]


def _save_json(value: object, path: Path) -> None:
    path.write_text(json.dumps(value, indent=2) + os.linesep)


def _save_safetensors(weights: Weights, folder: Path) -> None:
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _save_torch(weights: Weights, path: Path) -> None:
    torch.save({key: torch.from_numpy(value) for key, value in weights.items()}, path)
