"""Which name is which family: the one place to add a family to.

A folder tells its family by its files. What a family does with its files is in the family's own
module, imported only when it is asked for.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from smart_embedder.errors import ModelLoadFailed
from smart_embedder.models.hub import check_file
from smart_embedder.models.model import Model
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Family:
    """A way of reading weights: its module, and the folders it knows as its own."""

    module: str
    serves: str
    is_ours: Callable[[Path, Config], bool]


def _has(*names: str) -> Callable[[Path, Config], bool]:
    return lambda folder, _: all((folder / name).is_file() for name in names)


def _reranks(architecture: str) -> Callable[[Path, Config], bool]:
    return lambda _, config: architecture in config.get("architectures", ())


def _qwen3_embeds(folder: Path, config: Config) -> bool:
    return config.get("model_type") == "qwen3" and (folder / "modules.json").is_file()


# The first that knows the folder reads it: the particular stand before the general.
FAMILIES: tuple[Family, ...] = (
    Family("bge_m3", "dense, sparse, ColBERT", _has("sparse_linear.pt", "colbert_linear.pt")),
    Family("cross_encoder", "rerank", _reranks("XLMRobertaForSequenceClassification")),
    Family("qwen3_embedding", "dense", _qwen3_embeds),
    Family("qwen3_reranker", "rerank", _reranks("Qwen3ForCausalLM")),
    Family("sentence_transformer", "dense", _has("modules.json")),
)


def family_of(folder: Path) -> Family:
    """Say whose folder this is."""
    try:
        config = json.loads(check_file(folder / "config.json").read_text())
    except json.JSONDecodeError as error:
        raise ModelLoadFailed(f"config.json of {folder} is broken: {error}") from error
    for family in FAMILIES:
        if family.is_ours(folder, config):
            return family
    raise ModelLoadFailed(
        f"{folder} is of no known family (model_type {config.get('model_type')!r}, architectures"
        f" {config.get('architectures')}); docs/models.md lists those that are"
    )


def loader(options: ModelOptions, folder: Path) -> Callable[[Device], Model]:
    """Return what loads this folder onto a device."""
    name = family_of(folder).module if options.engine == "packed" else options.engine
    load: Callable[[Path, ModelOptions, Device], Model] = import_module(
        f"smart_embedder.models.{name}"
    ).load
    return partial(load, folder, options)
