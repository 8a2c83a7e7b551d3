"""The rule for every speed-up: it ships only if its numbers are as good as the plain ones.

Plain fp32 torch is itself not one set of numbers: a text of two tokens goes through other kernels
alone than among others. An optimised path may lie as far from fp64 as batching alone moves plain
torch, or as plain torch lies from fp64, whichever is more, for the length of text where each is
worst and without any margin; int8 has bounds of its own. Distances are root mean squares over the
states of the texts of one length in several draws of weights and texts: a single text of two tokens
lies 3 % nearer or farther by luck. Held here on two layers of BGE-M3's full width (1,024 wide, 16
heads, 4,096 inside): all 24 would need 1.2 GB and minutes, and every layer runs the same code.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional

from smart_embedder.models.encoder import Encoder, Shape
from smart_embedder.runtime.devices import INT8, Device
from smart_embedder.runtime.packing import Pack
from smart_embedder.runtime.trust import trusted_kernels
from smart_embedder.runtime.weights import Weights

CPU = Device("cpu", 0, "cpu")
SHAPE = Shape(1024, 2, 16, 1e-5, 1000, 2, 512)
INNER = 4096
LENGTHS = (2, 3, 6, 12, 128, 33, 256, 128)

Tensors = dict[str, torch.Tensor]
Batch = Sequence[npt.NDArray[np.int32]]


DRAWS = 4


@dataclass(frozen=True, slots=True)
class Draw:
    """Random weights, one text of each length, and what they give in fp64."""

    tensors: Tensors
    batch: Batch
    truth: list[torch.Tensor]


@pytest.fixture(scope="module")
def draws() -> list[Draw]:
    return [drawn(number) for number in range(DRAWS)]


def drawn(number: int) -> Draw:
    dice = np.random.default_rng(5 + number)
    batch = [dice.integers(4, SHAPE.vocabulary, length).astype(np.int32) for length in LENGTHS]
    tensors = weights(number)
    exact = {name: tensor.double() for name, tensor in tensors.items()}
    return Draw(tensors, batch, one_by_one(exact, batch))


def weights(number: int) -> Tensors:
    def normal(out: int, width: int, scale: float = 1.0) -> torch.Tensor:
        dice = torch.Generator().manual_seed(out * width + 7919 * number)
        return torch.randn(out, width, generator=dice) * scale

    found = {
        "embeddings.word_embeddings.weight": normal(SHAPE.vocabulary, SHAPE.width),
        "embeddings.position_embeddings.weight": normal(SHAPE.positions + 2, SHAPE.width),
        "embeddings.token_type_embeddings.weight": normal(1, SHAPE.width),
    }
    sizes = {"attention.output.dense": (1024, 1024), "intermediate.dense": (INNER, 1024)}
    sizes |= {f"attention.self.{name}": (1024, 1024) for name in ("query", "key", "value")}
    sizes |= {"output.dense": (1024, INNER)}
    norms = ["embeddings.LayerNorm"]
    for index in range(SHAPE.layers):
        layer = f"encoder.layer.{index}"
        for name, (out, width) in sizes.items():
            weight = normal(out + index, width, width**-0.5)[:out]
            found |= {f"{layer}.{name}.weight": weight, f"{layer}.{name}.bias": weight[:, 0] * 0.1}
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name in norms:
        found |= {f"{name}.weight": torch.ones(1024), f"{name}.bias": torch.zeros(1024)}
    return found


@pytest.fixture(scope="module", autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def plain(tensors: Tensors, rows: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
    """The architecture in torch's own calls, texts x tokens, padded where `seen` says so."""

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        return functional.layer_norm(x, (SHAPE.width,), weight, bias, SHAPE.epsilon)

    words, places, kinds = (
        tensors[f"embeddings.{name}_embeddings.weight"]
        for name in ("word", "position", "token_type")
    )
    texts, length = rows.shape
    x = norm(words[rows] + places[2 : 2 + length] + kinds[0], "embeddings.LayerNorm")
    for index in range(SHAPE.layers):
        layer = f"encoder.layer.{index}"
        q, k, v = (
            linear(x, f"{layer}.attention.self.{name}")
            .view(texts, length, SHAPE.heads, -1)
            .transpose(1, 2)
            for name in ("query", "key", "value")
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        mixed = mixed.transpose(1, 2).reshape(texts, length, -1)
        mixed = linear(mixed, f"{layer}.attention.output.dense")
        x = norm(x + mixed, f"{layer}.attention.output.LayerNorm")
        wide = functional.gelu(linear(x, f"{layer}.intermediate.dense"))
        x = norm(x + linear(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return x


def one_by_one(tensors: Tensors, batch: Batch) -> list[torch.Tensor]:
    return [plain(tensors, torch.from_numpy(ids.astype(np.int64))[None])[0] for ids in batch]


def padded(tensors: Tensors, batch: Batch) -> list[torch.Tensor]:
    longest = max(LENGTHS)
    rows = torch.ones(len(batch), longest, dtype=torch.int64)
    seen = torch.zeros(len(batch), 1, longest, longest, dtype=torch.bool)
    for index, ids in enumerate(batch):
        rows[index, : len(ids)] = torch.from_numpy(ids)
        seen[index, ..., : len(ids)] = True
    hidden = plain(tensors, rows, seen)
    return [hidden[index, : len(ids)] for index, ids in enumerate(batch)]


def packed(
    tensors: Tensors, batch: Batch, dtype: torch.dtype = torch.float32
) -> list[torch.Tensor]:
    """Our encoder, the whole batch in one pass."""
    encoder = Encoder(Weights(tensors), SHAPE, dtype=dtype, device=CPU)
    hidden = encoder(Pack.of(batch, CPU.torch), lambda: None)
    return list(hidden.split([len(ids) for ids in batch]))


@pytest.fixture(scope="module")
def allowed(draws: list[Draw]) -> float:
    """How far from fp64 an optimised path may be."""
    truth = [draw.truth for draw in draws]
    alone = [one_by_one(draw.tensors, draw.batch) for draw in draws]
    together = [padded(draw.tensors, draw.batch) for draw in draws]
    return max(worst(alone, truth), worst(together, truth), worst(together, alone))


def worst(ours: Sequence[list[torch.Tensor]], truth: Sequence[list[torch.Tensor]]) -> float:
    """How far the length lies whose states lie farthest, in all draws together."""
    squares = [
        [float((mine.double() - theirs.double()).square().mean()) for mine, theirs in pairs]
        for pairs in (zip(*both, strict=True) for both in zip(ours, truth, strict=True))
    ]
    return float(np.sqrt(np.mean(squares, axis=0).max()))


def test_the_packed_pass_is_as_near_to_fp64_as_plain_torch(
    draws: list[Draw], allowed: float
) -> None:
    ours = [packed(draw.tensors, draw.batch) for draw in draws]
    assert worst(ours, [draw.truth for draw in draws]) <= allowed


def test_batching_moves_the_packed_pass_no_more_than_the_plain_one(
    draws: list[Draw], allowed: float
) -> None:
    together = [packed(draw.tensors, draw.batch) for draw in draws]
    alone = [[packed(draw.tensors, [ids])[0] for ids in draw.batch] for draw in draws]
    assert worst(together, alone) <= allowed
    if trusted_kernels():  # they sum in one order whatever stands beside a row
        assert all(
            torch.equal(*pair)
            for both in zip(together, alone, strict=True)
            for pair in zip(*both, strict=True)
        )


def test_int8_stays_within_its_own_bounds(draws: list[Draw]) -> None:
    for draw in draws:
        ours = torch.cat(packed(draw.tensors, draw.batch, INT8)).double()
        cosines = functional.cosine_similarity(ours, torch.cat(draw.truth), dim=-1)
        assert cosines.min() >= 0.998


def test_an_int8_encoder_settles_while_it_loads_and_not_on_what_it_is_first_asked(
    draws: list[Draw],
) -> None:
    tensors, batch = draws[0].tensors, draws[0].batch
    first, second = (Encoder(Weights(tensors), SHAPE, dtype=INT8, device=CPU) for _ in range(2))
    one, other = (Pack.of(batch[start : start + 3], CPU.torch) for start in (0, 3))
    first(other, lambda: None)
    assert torch.equal(first(one, lambda: None), second(one, lambda: None))


@pytest.mark.parametrize(
    "name", ["encoder.layer.1.output.dense.weight", "encoder.layer.0.attention.self.value.weight"]
)
def test_the_rule_notices_a_path_that_is_only_nearly_right(
    draws: list[Draw], allowed: float, name: str
) -> None:
    rounded = [{**draw.tensors, name: draw.tensors[name].bfloat16().float()} for draw in draws]
    ours = [packed(some, draw.batch) for some, draw in zip(rounded, draws, strict=True)]
    assert worst(ours, [draw.truth for draw in draws]) > allowed
