"""The engine over fake models: what a request gets back."""

import asyncio
import subprocess
import sys
import time

import numpy as np
import pytest

from smart_embedder import Engine, EngineOptions, ModelOptions
from smart_embedder.errors import (
    EmptyInput,
    InvalidInput,
    ModelLoadFailed,
    ModelNotFound,
    Unavailable,
)
from smart_embedder.models.model import Output
from smart_embedder.results import State

pytestmark = pytest.mark.anyio


async def test_every_output_asked_for_comes_back(make_engine, fake_embedding) -> None:
    async with make_engine() as engine:
        found = await engine.embed(["a b", "c"], sparse=True, colbert=True)
    assert found.dense.shape == (2, 8)
    assert [len(text.ids) for text in found.sparse] == [4, 3]
    assert [text.shape for text in found.colbert] == [(3, 8), (2, 8)]
    assert found.tokens == [4, 3]
    assert set(found.fingerprints.values()) == {fake_embedding.card.fingerprint}
    assert fake_embedding.wanted == [[Output.DENSE | Output.SPARSE | Output.COLBERT] * 2]


@pytest.mark.parametrize("cache_entries", [0, 64])
async def test_nobody_can_write_into_what_another_caller_is_answered_with(
    make_engine, cache_entries
) -> None:
    async with make_engine(cache_entries=cache_entries) as engine:
        calls = [engine.embed(["a b", "a b"], sparse=True, colbert=True) for _ in range(2)]
        together = await asyncio.gather(*calls)
        later = await engine.embed(["a b"], sparse=True, colbert=True)
    for found in (*together, later):
        for shared in (
            *found.colbert,
            *(text.ids for text in found.sparse),
            *(text.weights for text in found.sparse),
            *(text.by_token for text in found.sparse),
        ):
            with pytest.raises(ValueError, match="read-only"):
                shared[0] = 7


async def test_the_dense_rows_are_the_callers_own(make_engine) -> None:
    async with make_engine() as engine:
        first, second = await asyncio.gather(engine.embed(["a", "a"]), engine.embed(["a"]))
    first.dense[0] = 7
    assert np.array_equal(first.dense[1], second.dense[0])


async def test_outputs_not_asked_for_are_none(make_engine, fake_embedding) -> None:
    async with make_engine() as engine:
        found = await engine.embed(["a"], dense=False, sparse=True)
    assert found.dense is None
    assert found.colbert is None
    assert fake_embedding.wanted == [[Output.SPARSE]]


async def test_a_text_gets_its_own_vector_whatever_stands_beside_it(make_engine) -> None:
    texts = ["one", "two words", "one", "three more words"]
    async with make_engine(cache_entries=0) as engine:
        together = (await engine.embed(texts)).dense
        alone = [(await engine.embed([text])).dense[0] for text in texts]
    assert np.array_equal(together, np.stack(alone))


@pytest.mark.parametrize(
    ("recipe", "asked", "unit"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
)
async def test_normalize_follows_the_recipe_unless_told(
    make_model, loader_of, recipe, asked, unit
) -> None:
    model = make_model("m", normalized=recipe)
    options = EngineOptions(embedding=ModelOptions(name="m"), reranker=None)
    async with Engine(options, loader=loader_of({"m": model})) as engine:
        found = await engine.embed(["a b c"], normalize=asked)
    assert (abs(np.linalg.norm(found.dense) - 1) < 1e-6) == unit


async def test_dimensions_are_cut_before_the_vector_is_normalised(make_engine) -> None:
    async with make_engine() as engine:
        raw = (await engine.embed(["a"], normalize=False)).dense
        cut = (await engine.embed(["a"], dimensions=3)).dense
        cut_raw = (await engine.embed(["a"], dimensions=3, normalize=False)).dense
    assert np.allclose(cut, raw[:, :3] / np.linalg.norm(raw[:, :3]))
    assert np.array_equal(cut_raw, raw[:, :3])


@pytest.mark.parametrize("dimensions", [0, -1, 9])
async def test_a_width_the_model_does_not_have_is_refused(make_engine, dimensions) -> None:
    async with make_engine() as engine:
        with pytest.raises(InvalidInput) as caught:
            await engine.embed(["a"], dimensions=dimensions)
    assert (caught.value.field, caught.value.limit) == ("dimensions", 8)


async def test_a_second_model_gives_the_dense_half(make_model, loader_of) -> None:
    embedding, dense = make_model("m"), make_model("d", outputs=Output.DENSE, dimensions=8)
    options = EngineOptions(
        embedding=ModelOptions(name="m"), dense=ModelOptions(name="d"), reranker=None
    )
    async with Engine(options, loader=loader_of({"m": embedding, "d": dense})) as engine:
        found = await engine.embed(["a"], sparse=True, colbert=True)
        named = await engine.embed(["a"], model="m")
    assert {output: card.name for output, card in found.cards.items()} == {
        Output.DENSE: "d",
        Output.SPARSE: "m",
        Output.COLBERT: "m",
    }
    assert named.cards[Output.DENSE].name == "m"


async def test_scores_keep_the_order_of_the_passages(make_engine) -> None:
    async with make_engine(cache_entries=0) as engine:
        both = (await engine.rerank("q", ["a", "b"], normalize=False)).scores
        turned = (await engine.rerank("q", ["b", "a"], normalize=False)).scores
        sigmoid = (await engine.rerank("q", ["a", "b"])).scores
    assert np.array_equal(both, turned[::-1])
    assert np.allclose(sigmoid, 1 / (1 + np.exp(-both)))


async def test_a_score_that_is_a_probability_is_left_alone(make_model, loader_of) -> None:
    model = make_model("r", outputs=Output.SCORE, probabilities=True)
    options = EngineOptions(embedding=None, reranker=ModelOptions(name="r"))
    async with Engine(options, loader=loader_of({"r": model})) as engine:
        raw = (await engine.rerank("q", ["a"], normalize=False)).scores
        assert np.array_equal((await engine.rerank("q", ["a"])).scores, raw)


async def test_a_cut_text_is_named(make_engine) -> None:
    long = " ".join(map(str, range(600)))
    async with make_engine() as engine:
        found = await engine.embed(["short", long], truncation_side="start")
        ranking = await engine.rerank("q", [long])
    [cut] = found.truncations
    assert (cut.index, cut.original, cut.kept, cut.side) == (1, 602, 512, "start")
    assert (cut.part, cut.model) == ("text", "fake/embedding")
    assert ranking.truncations[0].part == "passage"


async def test_a_text_too_long_is_refused_by_its_index_in_the_whole_request(make_engine) -> None:
    texts = ["short"] * 700 + [" ".join(map(str, range(600)))]
    async with make_engine() as engine:
        with pytest.raises(InvalidInput) as caught:
            await engine.embed(texts, truncate=False)
    assert caught.value.index == 700


async def test_the_model_of_an_output_is_the_one_that_answers_for_it(make_model, loader_of) -> None:
    served = {"m": make_model("m"), "d": make_model("d", outputs=Output.DENSE, dimensions=8)}
    options = EngineOptions(
        embedding=ModelOptions(name="m"), dense=ModelOptions(name="d"), reranker=None
    )
    async with Engine(options, loader=loader_of(served)) as engine:
        found = [engine.name_of(output) for output in (Output.DENSE, Output.SPARSE, Output.SCORE)]
    assert found == ["d", "m", None]


async def test_names_aliases_and_default_find_a_model(make_model, loader_of) -> None:
    options = EngineOptions(
        embedding=ModelOptions(name="org/m"),
        reranker=None,
        aliases={"Ada": "org/m", "Bea": "not/served"},
    )
    async with Engine(options, loader=loader_of({"org/m": make_model("org/m")})) as engine:
        assert [card.name for card in engine.models] == ["org/m"]
        for name in ("org/m", "ORG/M", "m", "ada", "default", None):
            assert engine.lookup(name).name == "org/m"
        assert {name: card.name for name, card in engine.aliases.items()} == {"Ada": "org/m"}
        with pytest.raises(ModelNotFound):
            await engine.embed(["a"], model="other")
        with pytest.raises(ModelNotFound):
            await engine.rerank("q", ["a"])


async def test_an_output_the_named_model_lacks_is_refused(make_engine) -> None:
    async with make_engine() as engine:
        with pytest.raises(InvalidInput):
            await engine.embed(["a"], model="fake/reranker")
        with pytest.raises(InvalidInput):
            await engine.embed(["a"], dense=False)


async def test_nothing_to_do_is_empty_input(make_engine) -> None:
    async with make_engine() as engine:
        with pytest.raises(EmptyInput):
            await engine.embed([])
        with pytest.raises(EmptyInput):
            await engine.rerank("q", [])


async def test_one_string_is_not_taken_for_a_list_of_characters(make_engine) -> None:
    async with make_engine() as engine:
        with pytest.raises(InvalidInput):
            await engine.embed("text")
        with pytest.raises(InvalidInput):
            await engine.rerank("q", "passage")


def test_importing_the_engine_brings_no_torch() -> None:
    code = "import smart_embedder, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_stages_are_timed(make_engine) -> None:
    async with make_engine() as engine:
        timings = (await engine.embed(["a"])).timings
    assert timings.tokenize > 0
    assert timings.inference > 0
    assert timings.queue >= 0


async def test_tokenizing_and_decoding_pass_through(make_engine) -> None:
    async with make_engine() as engine:
        [pieces] = await engine.tokenize(["a b"], special=False)
        assert [piece.text for piece in pieces] == ["a", "b"]
        assert await engine.decode([11, 12]) == "11 12"


async def test_an_engine_says_unavailable_before_its_start_and_after_its_end(
    make_engine, fake_embedding
) -> None:
    unstarted = Engine(EngineOptions())
    assert (unstarted.health.alive, unstarted.health.ready) == (True, False)
    with pytest.raises(Unavailable):
        await unstarted.embed(["a"])
    async with make_engine() as engine:
        assert engine.health.ready
    assert engine.state is State.STOPPED
    assert fake_embedding.closed == 1
    with pytest.raises(Unavailable):
        await engine.embed(["a"])


async def test_a_start_that_fails_says_why() -> None:
    def broken(_options: EngineOptions, _report: object) -> list:
        raise ModelLoadFailed("no weights here")

    engine = Engine(EngineOptions(), loader=broken)
    with pytest.raises(ModelLoadFailed):
        await engine.start()
    assert engine.state is State.FAILED
    assert engine.health.failure == "no weights here"
    assert not engine.health.alive


async def test_the_start_reports_its_progress_and_warms_every_model(make_model, loader_of) -> None:
    model, seen = make_model("m"), []
    options = EngineOptions(
        embedding=ModelOptions(name="m"), reranker=None, warmup_rounds=2, warmup_texts=3
    )
    async with Engine(options, loader=loader_of({"m": model}), progress=seen.append):
        assert [len(batch) for batch in model.passes] == [3, 3]
    assert [(step.stage, step.model) for step in seen] == [("warming", "m")]


async def test_a_first_pass_that_read_the_weights_from_a_slow_disk_makes_nobody_seem_late(
    make_model, loader_of
) -> None:
    model = make_model("m")
    warm = model.forward

    def cold(*batch: object) -> list:
        time.sleep(0.5)
        model.forward = warm
        return warm(*batch)

    model.forward = cold
    options = EngineOptions(embedding=ModelOptions(name="m"), reranker=None)
    async with Engine(options, loader=loader_of({"m": model})) as engine:
        deadline = time.monotonic() + 10
        calls = [
            engine.embed([f"{number} " + "word " * 29], deadline=deadline) for number in range(40)
        ]
        answers = await asyncio.gather(*calls)
    assert len(answers) == 40


async def test_a_model_that_fails_its_warm_up_fails_the_start_and_is_given_back(
    make_model, loader_of
) -> None:
    model = make_model("m")
    model.memory = 1
    options = EngineOptions(embedding=ModelOptions(name="m"), reranker=None)
    engine = Engine(options, loader=loader_of({"m": model}))
    with pytest.raises(ModelLoadFailed):
        await engine.start()
    assert model.closed == 1
    await engine.stop()
    assert model.closed == 1
