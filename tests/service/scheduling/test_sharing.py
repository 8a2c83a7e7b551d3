"""What requests share: a pass, a device, equal texts, known vectors."""

import asyncio

import numpy as np
import pytest

from smart_embedder.scheduling.observer import Kind, Lane

pytestmark = pytest.mark.anyio


async def _hold(engine, model, until) -> asyncio.Task:
    model.gate.clear()
    held = asyncio.create_task(engine.embed(["hold"]))
    await until(lambda: len(model.passes) == 1)
    return held


async def test_what_arrives_during_a_pass_goes_into_the_next_one_together(
    make_engine, fake_embedding, recorder, until
) -> None:
    async with make_engine(observer=recorder, batch_seconds=1000) as engine:
        held = await _hold(engine, fake_embedding, until)
        others = [asyncio.create_task(engine.embed([f"text {n}", "x y"])) for n in range(10)]
        await until(lambda: engine.queue().waiting == 11)
        fake_embedding.gate.set()
        await asyncio.gather(held, *others)
    assert len(fake_embedding.passes) == 2
    [_, facts] = [facts for [facts] in recorder.of("batch_started")]
    assert (facts.device, facts.model, facts.kind) == ("fake:0", "fake/embedding", Kind.EMBED)
    assert (facts.texts, facts.tokens, facts.fill) == (11, 44, 44 / 4096)


async def test_the_next_pass_begins_before_the_answers_of_the_last_are_handed_out(
    make_engine, fake_embedding, recorder, until
) -> None:
    async with make_engine(observer=recorder) as engine:
        held = await _hold(engine, fake_embedding, until)
        waiting = asyncio.create_task(engine.embed(["waiting"]))
        await until(lambda: engine.queue().waiting == 1)
        fake_embedding.gate.set()
        await asyncio.gather(held, waiting)
    order = [name for name, _ in recorder.events if name.startswith("batch")]
    assert order == ["batch_started", "batch_started", "batch_finished", "batch_finished"]


async def test_outputs_of_several_requests_mix_in_one_pass(
    make_engine, fake_embedding, until
) -> None:
    async with make_engine() as engine:
        held = await _hold(engine, fake_embedding, until)
        dense = asyncio.create_task(engine.embed(["a"]))
        sparse = asyncio.create_task(engine.embed(["b"], dense=False, sparse=True))
        await until(lambda: engine.queue().waiting == 2)
        fake_embedding.gate.set()
        await asyncio.gather(held, dense, sparse)
    assert len(set(fake_embedding.wanted[1])) == 2


async def test_equal_texts_in_flight_are_computed_once(
    make_engine, fake_embedding, recorder, until
) -> None:
    async with make_engine(observer=recorder, cache_entries=0) as engine:
        held = await _hold(engine, fake_embedding, until)
        same = [asyncio.create_task(engine.embed(["same", "same"])) for _ in range(3)]
        running = asyncio.create_task(engine.embed(["hold"]))
        await until(lambda: engine.queue().depth == 5)
        await until(lambda: engine.statistics().deduplicated_texts == 6)
        fake_embedding.gate.set()
        found = await asyncio.gather(*same)
        assert np.array_equal((await running).dense, (await held).dense)
    assert fake_embedding.texts_seen == 2
    assert all(np.array_equal(each.dense, found[0].dense) for each in found)


async def test_a_text_that_wants_more_than_the_one_in_flight_goes_alone(
    make_engine, fake_embedding, until
) -> None:
    async with make_engine(cache_entries=0) as engine:
        held = await _hold(engine, fake_embedding, until)
        more = asyncio.create_task(engine.embed(["hold"], sparse=True))
        await until(lambda: engine.queue().waiting == 1)
        fake_embedding.gate.set()
        await held
        assert (await more).sparse is not None
    assert fake_embedding.texts_seen == 2


async def test_a_query_that_stands_in_a_reindex_does_not_wait_for_the_reindex(
    make_engine, fake_embedding, until
) -> None:
    async with make_engine(cache_entries=0) as engine:
        held = await _hold(engine, fake_embedding, until)
        reindex = asyncio.create_task(engine.embed(["shared", "other"], lane=Lane.BULK))
        await until(lambda: engine.queue().waiting == 2)
        query = asyncio.create_task(engine.embed(["shared"]))
        await until(lambda: engine.queue().waiting == 3)
        late = asyncio.create_task(engine.embed(["shared"], lane=Lane.BULK))
        await until(lambda: engine.statistics().deduplicated_texts == 1)
        fake_embedding.gate.set()
        await asyncio.gather(held, reindex, query, late)
    assert [len(batch) for batch in fake_embedding.passes] == [1, 1, 2]


async def test_a_reindex_computes_its_own_equal_texts_once(make_engine, fake_embedding) -> None:
    async with make_engine(cache_entries=0) as engine:
        await engine.embed(["same", "same"], lane=Lane.BULK)
    assert fake_embedding.texts_seen == 1


async def test_who_follows_a_text_still_gets_it_when_its_first_caller_goes(
    make_engine, fake_embedding, until
) -> None:
    async with make_engine() as engine:
        held = await _hold(engine, fake_embedding, until)
        first = asyncio.create_task(engine.embed(["shared", "only mine"]))
        await until(lambda: engine.queue().waiting == 2)
        second = asyncio.create_task(engine.embed(["shared"]))
        await until(lambda: engine.statistics().deduplicated_texts == 1)
        first.cancel()
        await until(lambda: engine.queue().waiting == 1)
        fake_embedding.gate.set()
        await asyncio.gather(held, second)
    assert fake_embedding.texts_seen == 2


async def test_a_shared_text_is_dropped_when_its_last_caller_goes(
    make_engine, fake_embedding, until
) -> None:
    async with make_engine() as engine:
        held = await _hold(engine, fake_embedding, until)
        callers = []
        for count in range(2):
            callers.append(asyncio.create_task(engine.embed(["shared"])))
            await until(lambda count=count: engine.queue().depth == count + 2)
            await until(lambda: engine.queue().waiting == 1)
        await until(lambda: engine.statistics().deduplicated_texts == 1)
        callers[0].cancel()
        await until(callers[0].done)
        assert engine.queue().waiting == 1
        callers[1].cancel()
        await until(lambda: engine.queue().waiting == 0)
        fake_embedding.gate.set()
        await held
        assert (await engine.embed(["shared"])).tokens == [3]
    assert fake_embedding.texts_seen == 2


async def test_who_follows_a_running_text_keeps_its_pass_alive(
    make_engine, fake_embedding, until
) -> None:
    async with make_engine(cache_entries=0) as engine:
        held = await _hold(engine, fake_embedding, until)
        follower = asyncio.create_task(engine.embed(["hold"]))
        await until(lambda: engine.statistics().deduplicated_texts == 1)
        held.cancel()
        await until(held.done)
        fake_embedding.gate.set()
        assert (await follower).tokens == [3]
    assert fake_embedding.texts_seen == 1


async def test_known_texts_cost_no_pass_and_dimensions_are_cut_afterwards(
    make_engine, fake_embedding, recorder
) -> None:
    async with make_engine(observer=recorder) as engine:
        first = await engine.embed(["a", "b"])
        again = await engine.embed(["b", "a"], dimensions=4)
    assert fake_embedding.texts_seen == 2
    cut = first.dense[::-1, :4]
    assert np.allclose(again.dense, cut / np.linalg.norm(cut, axis=1, keepdims=True))
    assert [facts[1:] for facts in recorder.of("cache_looked_up")] == [(0, 2), (2, 0)]


async def test_a_cache_without_entries_is_off(make_engine, fake_embedding, recorder) -> None:
    async with make_engine(observer=recorder, cache_entries=0) as engine:
        await engine.embed(["a"])
        await engine.embed(["a"])
    assert fake_embedding.texts_seen == 2
    assert recorder.of("cache_looked_up") == []


async def test_embedding_and_reranking_never_run_at_once_on_one_device(
    make_engine, fake_embedding, fake_reranker, until
) -> None:
    async with make_engine() as engine:
        held = await _hold(engine, fake_embedding, until)
        ranking = asyncio.create_task(engine.rerank("q", ["a", "b"]))
        await until(lambda: engine.queue().waiting == 2)
        snapshot = engine.queue()
        assert (snapshot.depth, snapshot.rerank_depth) == (2, 1)
        assert fake_reranker.passes == []
        fake_embedding.gate.set()
        await asyncio.gather(held, ranking)
    assert len(fake_reranker.passes) == 1


async def test_a_flood_delays_another_clients_query_by_one_pass_at_most(
    make_engine, fake_embedding, until
) -> None:
    async with make_engine(batch_tokens=64) as engine:
        held = await _hold(engine, fake_embedding, until)
        flood = asyncio.create_task(
            engine.embed([f"flood {n}" for n in range(10_000)], client="greedy")
        )
        await until(lambda: engine.queue().depth == 2 and engine.queue().waiting > 1000)
        flooded = engine.queue().waiting
        query = asyncio.create_task(engine.embed(["query"], client="single"))
        await until(lambda: engine.queue().waiting == flooded + 1)
        fake_embedding.gate.set()
        await query
        # Its own pass is the next one after the pass that was running.
        assert [len(batch) for batch in fake_embedding.passes[:2]] == [1, 1]
        await asyncio.gather(held, flood)


async def test_the_lane_goes_by_the_size_of_the_request_unless_told(make_engine, recorder) -> None:
    async with make_engine(observer=recorder) as engine:
        await engine.embed(["a"] * 32)
        await engine.embed(["a"] * 33)
        await engine.embed(["a"], lane=Lane.BULK)
        await engine.rerank("q", ["a"] * 128)
        await engine.rerank("q", ["a"] * 129)
    quick, bulk = Lane.INTERACTIVE, Lane.BULK
    assert [lane for _, lane, _ in recorder.of("admitted")] == [quick, bulk, bulk, quick, bulk]


async def test_the_snapshot_follows_a_request_from_the_door_to_its_answer(
    make_engine, fake_embedding, until
) -> None:
    async with make_engine() as engine:
        assert engine.queue().depth == 0
        held = await _hold(engine, fake_embedding, until)
        bulk = asyncio.create_task(engine.embed(["b 1", "b 2"], lane=Lane.BULK))
        await until(lambda: engine.queue().waiting == 2)
        snapshot = engine.queue()
        assert (snapshot.depth, snapshot.interactive_depth) == (2, 1)
        assert snapshot.tokens == 3 + 8
        assert snapshot.oldest_wait_seconds > 0
        fake_embedding.gate.set()
        await asyncio.gather(held, bulk)
        assert (engine.queue().depth, engine.queue().tokens) == (0, 0)
        assert engine.queue().estimated_drain_seconds == 0


async def test_a_window_lets_texts_find_company_on_an_idle_device(
    make_engine, fake_embedding
) -> None:
    async with make_engine(batch_window_seconds=0.2, max_batch_texts=10) as engine:
        await asyncio.gather(engine.embed(["a"]), engine.embed(["b"]))
    assert [len(batch) for batch in fake_embedding.passes] == [2]


async def test_the_request_each_pass_serves_can_be_traced(make_engine, recorder) -> None:
    recorder.trace = lambda: "span"
    async with make_engine(observer=recorder) as engine:
        await engine.embed(["a"])
    assert recorder.of("batch_started")[0][0].traces == ("span",)
