"""The fingerprint changes whenever vectors may no longer be compared, and never otherwise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from smart_embedder.models import model
from smart_embedder.models.encoder import Encoder, Shape
from smart_embedder.models.model import RECIPES, Card, Output
from smart_embedder.runtime.devices import INT8, Device
from smart_embedder.runtime.packing import Pack
from smart_embedder.runtime.weights import Weights

CPU = Device("cpu", 0, "cpu")
SHAPE = Shape(8, 2, 2, 1e-5, 20, 0, 16)
INNER = 16
CARD = Card(
    name="fake/model",
    family="bge-m3",
    revision="0123abc",
    outputs=Output.DENSE,
    dtype="float32",
    engine="packed",
    pooling="cls",
    max_tokens=512,
)


@pytest.mark.parametrize(
    "fact",
    [
        {"name": "fake/other"},
        {"revision": "4567def"},
        {"dtype": "bfloat16"},
        {"engine": "flagembedding"},
        {"pooling": "mean"},
        {"max_tokens": 256},
    ],
)
def test_each_fact_that_vectors_depend_on_changes_it(fact: dict[str, str | int]) -> None:
    assert replace(CARD, **fact).fingerprint != CARD.fingerprint


def test_another_recipe_of_a_dtype_changes_its_own_fingerprint_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounded = replace(CARD, dtype="int8")
    before = CARD.fingerprint, rounded.fingerprint
    monkeypatch.setattr(model, "RECIPES", {"int8": RECIPES["int8"] + 1})
    assert CARD.fingerprint == before[0]
    assert rounded.fingerprint != before[1]


def test_int8_gives_the_numbers_of_its_recipe() -> None:
    """Whoever changes them raises `RECIPES` and both figures here, or old vectors seem equal."""
    pack = Pack.of([np.arange(1, 7, dtype=np.int32)], CPU.torch)
    found = Encoder(_weights(), SHAPE, dtype=INT8, device=CPU)(pack, lambda: None)[0]
    # 6e-3 from fp32; 4e-3 from the same without settling, and 7e-4 from half as many typical texts.
    known = [-0.80862, -0.75028, 0.71195, -0.04592, 1.00415, 1.81653, -0.73168, -1.19613]
    assert RECIPES["int8"] == 2
    torch.testing.assert_close(found, torch.tensor(known), atol=1e-4, rtol=0)


def _weights() -> Weights:
    """Weights without dice: a sine of the place, as torch computes it everywhere."""

    def waves(out: int, width: int, pace: float) -> torch.Tensor:
        return torch.sin(torch.arange(out * width) * pace).view(out, width) / width**0.5

    found = {
        "embeddings.word_embeddings.weight": waves(SHAPE.vocabulary, SHAPE.width, 1.1),
        "embeddings.position_embeddings.weight": waves(SHAPE.positions, SHAPE.width, 0.7),
        "embeddings.token_type_embeddings.weight": waves(1, SHAPE.width, 0.3),
    }
    sizes = {"attention.output.dense": (8, 8), "intermediate.dense": (INNER, 8)}
    sizes |= {f"attention.self.{name}": (8, 8) for name in ("query", "key", "value")}
    sizes |= {"output.dense": (8, INNER)}
    norms = ["embeddings.LayerNorm"]
    for index in range(SHAPE.layers):
        layer = f"encoder.layer.{index}"
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
        for place, (name, (out, width)) in enumerate(sizes.items()):
            weight = waves(out, width, 1.3 + place + 10 * index)
            found |= {f"{layer}.{name}.weight": weight, f"{layer}.{name}.bias": weight[:, 0] * 0.1}
    for name in norms:
        found |= {f"{name}.weight": torch.ones(8), f"{name}.bias": torch.zeros(8)}
    return Weights(found)
