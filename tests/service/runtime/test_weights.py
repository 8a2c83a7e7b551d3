"""Weights are found however a folder stores them, and what is wrong is named."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from smart_embedder.errors import ModelLoadFailed
from smart_embedder.runtime.weights import Weights, revision_of

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


def test_safetensors_and_torchs_own_format_hold_the_same(tmp_path: Path) -> None:
    for name in ("safe", "zipped", "old"):
        (tmp_path / name).mkdir()
    save_file(TENSORS, tmp_path / "safe/model.safetensors")
    torch.save(TENSORS, tmp_path / "zipped/pytorch_model.bin")
    torch.save(TENSORS, tmp_path / "old/pytorch_model.bin", _use_new_zipfile_serialization=False)
    for name in ("safe", "zipped", "old"):
        weights = Weights.read(tmp_path / name)
        assert sorted(weights) == ["a.bias", "a.weight"]
        assert torch.equal(weights.under("a.")["weight"], TENSORS["a.weight"])


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    shards = {"a.weight": "model-1.safetensors", "a.bias": "model-2.safetensors"}
    for tensor, shard in shards.items():
        save_file({tensor: TENSORS[tensor]}, tmp_path / shard)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert len(Weights.read(tmp_path).under("a.")) == 2


def test_a_missing_tensor_is_named_in_full() -> None:
    with pytest.raises(ModelLoadFailed, match=r"'a\.scale'"):
        Weights(TENSORS).under("a.")["scale"]
    assert "scale" not in Weights(TENSORS).under("a.")
    assert "bias" in Weights(TENSORS).under("a.")


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("code of the file ran",))


def test_code_in_a_file_of_weights_never_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(pickle.dumps({"a.weight": Evil()}, protocol=2))
    with pytest.raises(ModelLoadFailed, match="not readable"):
        Weights.read(tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_truncated_file_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".bin":
        torch.save(TENSORS, path)
    else:
        save_file(TENSORS, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ModelLoadFailed, match=path.stem):
        Weights.read(tmp_path)


def test_a_folder_without_weights_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        Weights.read(tmp_path)


def test_the_revision_is_the_snapshots_commit_or_what_is_in_the_files(tmp_path: Path) -> None:
    snapshot, one, same, other = (
        tmp_path / name for name in ("snapshots/0123abc", "one", "same", "other")
    )
    for folder in (snapshot, one, same, other):
        folder.mkdir(parents=True)
        tensors = {**TENSORS, "a.bias": torch.zeros(2)} if folder is other else TENSORS
        save_file(tensors, folder / "model.safetensors")
    assert revision_of(snapshot) == "0123abc"
    assert revision_of(one) == revision_of(same) != revision_of(other)


@pytest.mark.parametrize(
    "file",
    [
        *("sparse_linear.pt", "colbert_linear.pt", "tokenizer.json", "config.json"),
        *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
        *("1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"),
    ],
)
def test_any_file_that_shapes_the_vectors_is_another_revision_when_it_differs(
    file: str, tmp_path: Path
) -> None:
    revisions = set()
    for content in ("one", "two"):
        folder = tmp_path / content
        (folder / file).parent.mkdir(parents=True)
        save_file(TENSORS, folder / "model.safetensors")
        (folder / file).write_text(content)
        revisions.add(revision_of(folder))

    assert len(revisions) == 2
