"""A program written for m3serve, with another import."""

import asyncio

import pytest

from smart_embedder.m3serve import Engine

pytestmark = pytest.mark.anyio


async def test_its_own_example_runs_and_gives_lists(fake_embedding, loader_of) -> None:
    models = {fake_embedding.card.name: fake_embedding}
    engine = Engine(model_name="fake/embedding", use_fp16=True, loader=loader_of(models))
    await engine.start()
    result = await engine.embed(["hello world", "hello"], return_sparse=True)
    plain = await engine.embed(["hello world"])
    await engine.stop()

    assert [len(row) for row in result.dense] == [8, 8]
    assert sum(value**2 for value in result.dense[0]) == pytest.approx(1)
    assert result.sparse_indices is not None
    assert result.sparse_weights is not None
    for indices, weights in zip(result.sparse_indices, result.sparse_weights, strict=True):
        assert len(indices) == len(weights) > 0
        assert {type(index) for index in indices} == {int}
        assert {type(weight) for weight in weights} == {float}
    assert plain.dense[0] == result.dense[0]
    assert (plain.sparse_indices, plain.sparse_weights) == (None, None)
    assert fake_embedding.closed


async def test_as_many_calls_as_there_are_wait_for_their_turn(fake_embedding, loader_of) -> None:
    models = {fake_embedding.card.name: fake_embedding}
    engine = Engine("fake/embedding", max_batch_size=2, loader=loader_of(models))
    await engine.start()
    fake_embedding.gate.clear()
    calls = [asyncio.create_task(engine.embed([f"text {number}"])) for number in range(500)]
    async with asyncio.timeout(30):
        while engine._engine.queue().depth < len(calls):  # noqa: ASYNC110 - the engine sets no event
            await asyncio.sleep(0.001)
    fake_embedding.gate.set()
    results = await asyncio.gather(*calls)
    await engine.stop()

    assert len(results) == 500
    assert max(len(batch) for batch in fake_embedding.passes) == 2


async def test_a_call_gives_up_after_its_timeout(fake_embedding, loader_of) -> None:
    models = {fake_embedding.card.name: fake_embedding}
    engine = Engine("fake/embedding", loader=loader_of(models))
    await engine.start()
    fake_embedding.gate.clear()
    with pytest.raises(TimeoutError):
        await engine.embed(["late"], timeout=0.01)
    fake_embedding.gate.set()
    await engine.stop()


@pytest.mark.parametrize(
    ("told", "dtype", "device", "length"),
    [
        ({}, "auto", "auto", 8192),
        ({"use_fp16": False, "device": "cuda:0", "max_length": 512}, "float32", "cuda:0", 512),
        ({"torch_compile": True, "attn_implementation": "sdpa"}, "auto", "auto", 8192),
    ],
)
def test_its_options_are_ours(
    told: dict[str, object], dtype: str, device: str, length: int
) -> None:
    options = Engine(**told)._engine.options
    assert options.embedding is not None
    assert (options.embedding.name, options.reranker) == ("BAAI/bge-m3", None)
    assert (options.embedding.dtype, options.device) == (dtype, device)
    assert options.embedding.max_tokens == length
    assert (options.scheduling.max_batch_texts, options.tokenizer_workers) == (256, 4)


def test_a_delay_is_waited_only_when_asked_for() -> None:
    assert Engine()._engine.options.scheduling.batch_window_seconds == 0
    assert Engine(batch_delay=0.005)._engine.options.scheduling.batch_window_seconds == 0.005
