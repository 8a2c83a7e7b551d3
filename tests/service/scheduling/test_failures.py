"""Only the guilty are hurt: every way to fail, one by one, beside innocent requests."""

import asyncio
import time

import numpy as np
import pytest
from structlog.testing import capture_logs

from smart_embedder import Engine, EngineOptions, ModelOptions
from smart_embedder.errors import (
    DeadlineExceeded,
    EncodingFailed,
    NonFiniteOutput,
    OutOfMemory,
    Overloaded,
    Unavailable,
)

pytestmark = pytest.mark.anyio


async def _hold(engine, model, until) -> asyncio.Task:
    """Keep the device busy until the gate is opened."""
    model.gate.clear()
    held = asyncio.create_task(engine.embed(["hold"]))
    await until(lambda: len(model.passes) == 1)
    return held


async def test_a_disconnected_client_costs_no_pass_and_is_counted(
    make_engine, fake_embedding, recorder, until
) -> None:
    async with make_engine(observer=recorder) as engine:
        held = await _hold(engine, fake_embedding, until)
        gone = asyncio.create_task(engine.embed(["gone", "away"]))
        await until(lambda: engine.queue().waiting == 2)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert engine.queue().waiting == 0
        fake_embedding.gate.set()
        await held
    assert fake_embedding.texts_seen == 1
    assert engine.statistics().dropped_texts == 2
    assert recorder.of("dropped") == [("disconnected", 2)]


async def test_a_pass_that_nobody_waits_for_ends_at_its_next_layer(
    make_engine, fake_embedding, recorder, until
) -> None:
    async with make_engine(observer=recorder) as engine:
        held = await _hold(engine, fake_embedding, until)
        held.cancel()
        # The gate is still shut: only the abandoned pass's own checkpoint can make room.
        await until(lambda: bool(recorder.of("batch_finished")))
        fake_embedding.gate.set()
        assert (await engine.embed(["next"])).tokens == [3]
    assert recorder.of("batch_finished")[0][2] == "cancelled"


async def test_a_deadline_that_passes_leaves_the_queue(
    make_engine, fake_embedding, recorder, until
) -> None:
    async with make_engine(observer=recorder) as engine:
        held = await _hold(engine, fake_embedding, until)
        with pytest.raises(DeadlineExceeded):
            await engine.embed(["late"], deadline=time.monotonic() + 0.02)
        assert engine.queue().waiting == 0
        fake_embedding.gate.set()
        await held
    assert fake_embedding.texts_seen == 1
    assert recorder.of("dropped") == [("deadline", 1)]
    assert [facts[0].outcome for facts in recorder.of("answered")] == ["timeout", "success"]


@pytest.mark.parametrize(
    ("word", "error"),
    [("poison", EncodingFailed), ("nan", NonFiniteOutput), ("oom", OutOfMemory)],
)
async def test_a_bad_text_fails_its_own_request_alone(
    make_engine, fake_embedding, until, word, error
) -> None:
    async with make_engine(cache_entries=0) as engine:
        alone = (await engine.embed(["good 1"])).dense
        held = await _hold(engine, _reset(fake_embedding), until)
        good = [asyncio.create_task(engine.embed([f"good {n}"])) for n in range(5)]
        bad = asyncio.create_task(engine.embed(["fine", f"very {word}"]))
        await until(lambda: engine.queue().waiting == 7)
        fake_embedding.gate.set()
        await held
        found = await asyncio.gather(*good)
        with pytest.raises(error) as caught:
            await bad
        assert caught.value.index == 1
        assert type(caught.value) is error
        assert np.array_equal(found[1].dense, alone)
        assert engine.health.alive


def _reset(model):
    model.passes.clear()
    return model


async def test_out_of_memory_halves_retries_and_lowers_the_budget(
    make_engine, fake_embedding, recorder
) -> None:
    fake_embedding.memory = 40
    texts = [f"text {n}" for n in range(32)]
    async with make_engine(observer=recorder, cache_entries=0) as engine:
        await engine.embed(texts)
        fits = max(sum(map(len, batch)) for batch in fake_embedding.passes[-2:])
        _reset(fake_embedding)
        await engine.embed(texts)
    assert fits <= 40
    assert all(sum(map(len, batch)) <= 40 for batch in fake_embedding.passes)
    assert engine.statistics().out_of_memory == len(recorder.of("out_of_memory")) == 3


async def test_a_slow_pass_is_ended_at_its_hard_limit(
    make_engine, fake_embedding, recorder, until
) -> None:
    async with make_engine(observer=recorder, embed_timeout_seconds=0.3) as engine:
        fake_embedding.gate.clear()
        with pytest.raises(DeadlineExceeded):
            await engine.embed(["slow"])
        # The gate is still shut: the device is free only if the pass itself has ended.
        following = asyncio.create_task(engine.embed(["next"]))
        await until(lambda: len(fake_embedding.passes) == 2)
        fake_embedding.gate.set()
        assert (await following).tokens == [3]
        assert engine.health.alive
    assert engine.statistics().timeouts == 1
    assert recorder.of("batch_finished")[0][2] == "timeout"


async def test_a_hung_worker_answers_its_callers_and_flips_liveness(
    make_engine, fake_embedding, until
) -> None:
    async with make_engine(embed_timeout_seconds=0.3) as engine:
        fake_embedding.stuck.set()
        with pytest.raises(DeadlineExceeded):
            await engine.embed(["hang"])
        await until(lambda: not engine.health.alive)
        with pytest.raises(Unavailable):
            await engine.embed(["refused"])
        fake_embedding.stuck.clear()
        await until(lambda: engine.health.alive)
        assert (await engine.embed(["back"])).tokens == [3]


async def test_one_hung_device_leaves_the_work_to_the_other(make_model, loader_of, until) -> None:
    first, second = make_model("m"), make_model("m")
    options = EngineOptions(embedding=ModelOptions(name="m"), reranker=None, warmup_rounds=0)
    async with Engine(options, loader=loader_of({"m": first}, {"m": second})) as engine:
        first.stuck.set()
        second.stuck.set()
        hung = asyncio.create_task(engine.embed(["hang"]))
        await until(lambda: bool(first.passes or second.passes))
        [busy, idle] = [first, second] if first.passes else [second, first]
        idle.stuck.clear()
        for n in range(3):
            await engine.embed([f"text {n}"])
        assert len(idle.passes) == 3
        busy.stuck.clear()
        await hung


async def test_a_sick_device_is_found_by_its_canary_and_comes_back(
    make_engine, fake_embedding, until
) -> None:
    async with make_engine() as engine:
        fake_embedding.broken = True
        with pytest.raises(EncodingFailed):
            await engine.embed(["any text"])
        await until(lambda: not engine.health.alive)
        fake_embedding.broken = False
        await until(lambda: engine.health.alive)
        assert (await engine.embed(["back"])).tokens == [3]


async def test_a_canary_that_crawls_is_ended_at_its_limit_and_sent_again(
    make_engine, fake_embedding, until
) -> None:
    async with make_engine(embed_timeout_seconds=0.2) as engine:
        fake_embedding.broken = True
        with pytest.raises(EncodingFailed):
            await engine.embed(["any text"])
        await until(lambda: not engine.health.alive)
        fake_embedding.gate.clear()
        sent = len(fake_embedding.passes)
        await until(lambda: len(fake_embedding.passes) == sent + 2)
        fake_embedding.broken = False
        fake_embedding.gate.set()
        await until(lambda: engine.health.alive)


async def test_a_poisoned_text_alone_does_not_make_its_device_sick(make_engine) -> None:
    async with make_engine() as engine:
        for _ in range(3):
            with pytest.raises(EncodingFailed):
                await engine.embed(["poison"])
            assert (await engine.embed(["fine"])).tokens == [3]
            assert engine.health.alive


async def test_a_model_that_forgets_an_answer_is_found_out(make_engine, fake_embedding) -> None:
    fake_embedding.forgetful = True
    async with make_engine() as engine:
        with pytest.raises(EncodingFailed):
            await engine.embed(["a", "b"])


async def test_stopping_finishes_what_is_admitted_and_refuses_the_rest(
    make_engine, fake_embedding, until
) -> None:
    async with make_engine() as engine:
        held = await _hold(engine, fake_embedding, until)
        queued = [asyncio.create_task(engine.embed([f"q {n}"])) for n in range(20)]
        await until(lambda: engine.queue().waiting == 20)
        stopping = asyncio.create_task(engine.stop())
        await until(lambda: engine.state == "draining")
        with pytest.raises(Unavailable):
            await engine.embed(["too late"])
        fake_embedding.gate.set()
        assert await stopping == 0
        found = await asyncio.gather(held, *queued)
        assert [len(each.tokens) for each in found] == [1] * 21


async def test_the_end_of_the_budget_fails_what_is_left(make_engine, fake_embedding, until) -> None:
    async with make_engine() as engine:
        held = await _hold(engine, fake_embedding, until)
        queued = asyncio.create_task(engine.embed(["queued"]))
        await until(lambda: engine.queue().waiting == 1)
        assert await engine.stop(drain_seconds=0.01) == 2
        for task in (held, queued):
            with pytest.raises(Unavailable):
                await task
        assert engine.queue().depth == 0


async def test_a_second_stop_does_not_wait_for_the_first(
    make_engine, fake_embedding, until
) -> None:
    async with make_engine() as engine:
        held = await _hold(engine, fake_embedding, until)
        patient = asyncio.create_task(engine.stop(drain_seconds=60))
        await until(lambda: engine.state == "draining")
        assert await engine.stop(drain_seconds=0) == 1
        with pytest.raises(Unavailable):
            await held
        await patient
    assert fake_embedding.closed == 1


async def test_whoever_waits_at_the_door_is_told_when_it_closes(
    make_engine, fake_embedding, until
) -> None:
    async with make_engine(max_queue_requests=1) as engine:
        held = await _hold(engine, fake_embedding, until)
        outside = asyncio.create_task(engine.embed(["outside"], wait_seconds=30))
        with pytest.raises(Overloaded):
            await engine.embed(["no patience"])
        stopping = asyncio.create_task(engine.stop())
        with pytest.raises(Unavailable):
            await outside
        fake_embedding.gate.set()
        await held
        assert await stopping == 0


async def test_a_deadline_that_passes_at_the_door_ends_the_wait(
    make_engine, fake_embedding, until
) -> None:
    async with make_engine(max_queue_requests=1) as engine:
        held = await _hold(engine, fake_embedding, until)
        deadline = time.monotonic() + 0.01
        async with asyncio.timeout(10):
            with pytest.raises(DeadlineExceeded):
                await engine.embed(["late"], deadline=deadline, wait_seconds=3600)
        fake_embedding.gate.set()
        await held
    assert fake_embedding.texts_seen == 1


async def test_a_request_that_has_failed_costs_no_further_pass(make_engine, recorder) -> None:
    async with make_engine(observer=recorder, max_batch_texts=1) as engine:
        with pytest.raises(EncodingFailed):
            await engine.embed(["poison", "second", "third"])
    assert recorder.of("dropped") == [("failed", 2)]
    assert len(recorder.of("batch_started")) == 1


async def test_an_observer_that_raises_is_told_of_once_and_hurts_nobody(
    make_engine, recorder
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    recorder.batch_started = recorder.answered = recorder.trace = broken
    with capture_logs() as logs:
        async with make_engine(observer=recorder) as engine:
            for text in ("a", "b"):
                assert (await engine.embed([text])).tokens == [3]
            assert engine.health.alive
    assert [line["event"] for line in logs] == ["observer_failed"]
    assert len(recorder.of("batch_finished")) == engine.statistics().batches == 2


async def test_a_scheduler_that_breaks_leaves_nobody_waiting_and_asks_for_a_restart(
    make_engine, until
) -> None:
    async with make_engine(batch_tokens=0) as engine:  # no pass has a share of nothing
        with pytest.raises(Unavailable):
            await engine.embed(["a"])
        await until(lambda: engine.state == "failed")
        assert not engine.health.alive
        assert "ZeroDivisionError" in engine.health.failure
