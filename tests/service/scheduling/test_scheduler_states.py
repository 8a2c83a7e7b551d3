"""The whole scheduler as a state machine: every submit ends exactly once, come what may."""

import asyncio
import time
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from smart_embedder import Engine, EngineOptions, ModelOptions, SchedulingOptions
from smart_embedder.errors import (
    DeadlineExceeded,
    EncodingFailed,
    NonFiniteOutput,
    OutOfMemory,
    Overloaded,
    Unavailable,
)
from smart_embedder.scheduling.observer import Lane

GUILTY = {"poison": EncodingFailed, "nan": NonFiniteOutput, "oom": OutOfMemory}
GOOD = ["a", "b", "c", "d", "e e e", "f " * 30]
innocent = st.lists(st.sampled_from(GOOD), min_size=1, max_size=6)
mixed = st.lists(st.sampled_from([*GOOD, *GUILTY]), min_size=1, max_size=6)
rarely = st.sampled_from([False, False, False, True])
calls = st.tuples(
    st.one_of(innocent, innocent, mixed),
    st.sampled_from([None, *Lane]),
    st.sampled_from("xyz"),
    rarely,
    st.booleans(),
)
"""Texts, lane, client, whether the deadline is close, whether it waits at the door."""


class SchedulerMachine(RuleBasedStateMachine):
    """Submits, cancels, holds, starves and drains one engine over fake devices."""

    make_model: Any
    loader_of: Any
    recorder: Any

    @initialize(devices=st.integers(1, 2), cache=st.sampled_from([0, 8]))
    def start(self, devices: int, cache: int) -> None:
        self.runner = asyncio.Runner()
        self.models = [self.make_model("m") for _ in range(devices)]
        self.tasks: list[tuple[asyncio.Task, list[str], bool]] = []
        self.cancelled: set[asyncio.Task] = set()
        self.recorder.events.clear()
        options = EngineOptions(
            embedding=ModelOptions(name="m"),
            reranker=None,
            warmup_rounds=0,
            scheduling=SchedulingOptions(max_queue_requests=12, cache_entries=cache),
        )
        loader = self.loader_of(*({"m": model} for model in self.models), batch_tokens=40)
        self.engine = Engine(options, loader=loader, observer=self.recorder)
        self.expected = self.runner.run(self._vectors())
        self.hold(shut=True)

    async def _vectors(self) -> dict[str, np.ndarray]:
        await self.engine.start()
        found = await self.engine.embed(GOOD, normalize=False)
        return dict(zip(GOOD, found.dense, strict=True))

    def _turn(self, seconds: float = 0.0) -> None:
        self.runner.run(asyncio.sleep(seconds))

    @rule(wave=st.lists(calls, min_size=1, max_size=6))
    def submit(self, wave) -> None:
        async def send(texts, lane, client, hurried, patient) -> asyncio.Task:
            deadline = time.monotonic() + 0.005 if hurried else None
            call = self.engine.embed(
                texts,
                normalize=False,
                lane=lane,
                client=client,
                deadline=deadline,
                wait_seconds=0.01 if patient else 0,
            )
            return asyncio.create_task(call)

        for texts, lane, client, hurried, patient in wave:
            task = self.runner.run(send(texts, lane, client, hurried, patient))
            self.tasks.append((task, texts, hurried))

    # What is drawn may not depend on the threads' timing, so the choice is a number.
    @rule(which=st.integers(0, 99), moment=st.sampled_from([0.0, 0.002]))
    def cancel(self, which, moment) -> None:
        self._turn(moment)
        waiting = [task for task, _, _ in self.tasks if not task.done()]
        if waiting:
            task = waiting[which % len(waiting)]
            self.cancelled.add(task)
            task.cancel()
        self._turn()

    @rule(shut=st.booleans())
    def hold(self, shut) -> None:
        for model in self.models:
            model.gate.clear() if shut else model.gate.set()
        self._turn(0.001)

    @rule(memory=st.sampled_from([None, 3, 10, 30]))
    def shrink(self, memory) -> None:
        for model in self.models:
            model.memory = memory

    @rule()
    def pause(self) -> None:
        self._turn(0.006)

    @precondition(lambda self: len(self.tasks) > 30)
    @rule(budget=st.sampled_from([0.0, 0.02]))
    def drain(self, budget) -> None:
        async def stop() -> None:
            await self.engine.stop(budget)

        self.runner.run(stop())
        assert all(task.done() for task, _, _ in self.tasks) or self._all_leave()

    def _all_leave(self) -> bool:
        self._turn(0.02)
        return all(task.done() for task, _, _ in self.tasks)

    @invariant()
    def the_counts_are_sane(self) -> None:
        snapshot = self.engine.queue()
        assert 0 <= snapshot.interactive_depth <= snapshot.depth <= 12
        assert snapshot.tokens >= 0

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        for model in self.models:
            model.gate.set()
            model.memory = None  # a device that cannot hold its canary is sick for as long
        self.runner.run(self._settle())
        self._check()
        self.runner.run(self.engine.stop())
        self.runner.close()

    async def _settle(self) -> None:
        await asyncio.wait_for(
            asyncio.gather(*(task for task, _, _ in self.tasks), return_exceptions=True), 20
        )

    def _check(self) -> None:
        for task, texts, hurried in self.tasks:
            self._check_end(task, texts, hurried)
        snapshot = self.engine.queue()
        assert (snapshot.depth, snapshot.waiting, snapshot.tokens) == (0, 0, 0)
        assert len(self.recorder.of("answered")) == len(self.recorder.of("admitted"))
        scheduler = self.engine._scheduler
        assert not scheduler._jobs
        assert not scheduler._flights._leaders

    def _check_end(self, task, texts, hurried) -> None:
        if task.cancelled():
            assert task in self.cancelled
            return
        error = task.exception()
        if error is None:
            assert not GUILTY.keys() & set(texts)
            found = task.result().dense
            for row, text in zip(found, texts, strict=True):
                assert np.array_equal(row, self.expected[text])
        elif type(error) in GUILTY.values():
            # A text that does not fit alone fails for that alone.
            assert GUILTY.get(texts[error.index]) is type(error) or (type(error) is OutOfMemory)
        elif isinstance(error, DeadlineExceeded):
            assert hurried
        else:
            assert isinstance(error, (Overloaded, Unavailable))


def test_every_submit_ends_exactly_once(make_model, loader_of, recorder) -> None:
    fixtures = {
        "make_model": staticmethod(make_model),
        "loader_of": staticmethod(loader_of),
        "recorder": recorder,
    }
    machine = type("Machine", (SchedulerMachine,), fixtures)
    machine.TestCase.settings = settings(
        max_examples=40,
        stateful_step_count=40,
    )
    machine.TestCase().runTest()
