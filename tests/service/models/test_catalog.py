"""Each folder finds its family, and what belongs to none is refused in words."""

import json
from pathlib import Path

import pytest

from smart_embedder.errors import ModelLoadFailed
from smart_embedder.models import catalog, names
from smart_embedder.models.demo import folders


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("demo/bge-m3", "bge_m3"),
        ("demo/bge-reranker-v2-m3", "cross_encoder"),
        ("demo/qwen3-embedding", "qwen3_embedding"),
        ("demo/qwen3-reranker", "qwen3_reranker"),
    ],
)
def test_a_folder_tells_its_family(tmp_path: Path, name: str, family: str) -> None:
    assert catalog.family_of(folders.cached(name, tmp_path)).module == family


def test_modules_json_makes_an_encoder_of_the_sentence_transformers_layout(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "modules.json").write_text("[]")
    assert catalog.family_of(tmp_path).module == "sentence_transformer"


def test_a_short_id_stands_for_a_hub_id_whatever_its_case() -> None:
    assert names.full_name("BGE-M3") == "BAAI/bge-m3"
    assert names.full_name("embedding-gemma-300m") == "google/embeddinggemma-300m"
    assert names.full_name("acme/bge-m3") == "acme/bge-m3"


@pytest.mark.parametrize("content", ['{"model_type": "llama"}', "{", None])
def test_a_folder_of_no_family_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelLoadFailed):
        catalog.family_of(tmp_path)


def test_code_that_a_folder_brings_is_never_asked_for(tmp_path: Path) -> None:
    folder = folders.cached("demo/bge-m3", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoModel": "evil.Model"}, "architectures": ["EvilModel"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    assert catalog.family_of(folder).module == "bge_m3"
