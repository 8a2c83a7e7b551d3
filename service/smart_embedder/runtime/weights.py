"""Tensors by name out of a model folder: safetensors or torch's own format, whole or sharded.

Files are mapped, not read, and never run code: torch files load with `weights_only`.
"""

import hashlib
import json
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from smart_embedder.errors import ModelLoadFailed

_NAMES = ("model.safetensors", "pytorch_model.bin")
_BESIDE = (
    *("*.pt", "tokenizer.json", "config.json", "modules.json", "*sentence_*.json"),
    *("*_Pooling/config.json", "*_Dense/*"),
)
"""What a model is read from beside its weights: BGE-M3's heads, sentence-transformers' modules."""


class Weights(Mapping[str, torch.Tensor]):
    """The tensors of a model; asking for one that is missing is an error that names it."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], prefix: str = "") -> None:
        self._tensors = tensors
        self._prefix = prefix

    @classmethod
    def read(cls, folder: Path) -> "Weights":
        """Read the weights of a folder, whichever way they are stored."""
        tensors: dict[str, torch.Tensor] = {}
        for path in weight_files(folder):
            tensors |= read_file(path)
        return cls(tensors)

    def under(self, prefix: str) -> "Weights":
        """Give the same tensors as seen from inside a module."""
        return Weights(self._tensors, self._prefix + prefix)

    def __getitem__(self, name: str) -> torch.Tensor:
        try:
            return self._tensors[self._prefix + name]
        except KeyError:
            raise ModelLoadFailed(
                f"the weights hold no tensor {self._prefix + name!r}", field="weights"
            ) from None

    def __contains__(self, name: object) -> bool:
        return f"{self._prefix}{name}" in self._tensors

    def __iter__(self) -> Iterator[str]:
        return (
            name.removeprefix(self._prefix)
            for name in self._tensors
            if name.startswith(self._prefix)
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)


def weight_files(folder: Path) -> list[Path]:
    """Name the files that hold a folder's weights."""
    for name in _NAMES:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            shards = json.loads(index.read_text())["weight_map"].values()
            return [folder / shard for shard in sorted(set(shards))]
    raise ModelLoadFailed(f"{folder} holds neither {' nor '.join(_NAMES)}", field="weights")


def read_file(path: Path) -> dict[str, torch.Tensor]:
    """Read one file of tensors."""
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=_mappable(path))
    except (OSError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise ModelLoadFailed(f"{path} is not readable: {error}", field="weights") from error
    if not isinstance(tensors, dict):
        raise ModelLoadFailed(f"{path} holds no tensors by name", field="weights")
    return tensors


def _mappable(path: Path) -> bool:
    """Tell torch's zip format, which can be mapped, from its older one."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def revision_of(folder: Path) -> str:
    """Name what a folder's vectors depend on: a hub snapshot's commit, else a hash of the files.

    Heads, the tokenizer and what is said of the layers count as the backbone does: each of them
    changes the vectors.
    """
    if folder.parent.name == "snapshots":
        return folder.name
    total = hashlib.sha256()
    beside = (path for pattern in _BESIDE for path in folder.glob(pattern))
    for path in sorted({*weight_files(folder), *beside}):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder)} {digest}\n".encode())
    return total.hexdigest()[:40]
