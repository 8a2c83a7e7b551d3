"""The work queue: one worker a key, no key twice, failures spaced and kept apart."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_embedder_operator import workqueue
from smart_embedder_operator.telemetry import Telemetry
from smart_embedder_operator.workqueue import TryAgain, WorkQueue

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def working(
    work: Callable[[str], Awaitable[float | None]], *, workers: int = 3, spacing: float = 0.0
) -> AsyncIterator[tuple[WorkQueue[str], Telemetry]]:
    telemetry = Telemetry()
    queue = WorkQueue(work, telemetry.queue, spacing=spacing, jitter=lambda: 0.0)
    task = asyncio.create_task(queue.run(workers))
    try:
        yield queue, telemetry
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Work:
    """Work that can be held and that notes what it was given."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.started = asyncio.Queue[str]()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, key: str) -> float | None:
        self.started.put_nowait(key)
        await self.gate.wait()
        self.done.append(key)
        return None


async def test_a_key_added_many_times_is_worked_on_once() -> None:
    work = Work()
    async with working(work) as (queue, _):
        for _ in range(10):
            queue.add("a")
        assert await work.started.get() == "a"
        await asyncio.sleep(0)
    assert work.done == ["a"]


async def test_a_key_added_during_its_work_comes_back_once_and_never_beside_itself() -> None:
    work = Work()
    work.gate.clear()
    async with working(work) as (queue, _):
        queue.add("a")
        await work.started.get()
        for _ in range(5):
            queue.add("a")
        assert work.started.empty()
        work.gate.set()
        await work.started.get()
        await asyncio.sleep(0.01)
    assert work.done == ["a", "a"]


async def test_a_slow_key_holds_up_nobody_else() -> None:
    slow, quick = asyncio.Event(), asyncio.Event()

    async def work(key: str) -> None:
        await (slow.wait() if key == "slow" else asyncio.sleep(0))
        if key == "quick":
            quick.set()

    async with working(work, workers=2) as (queue, _):
        queue.add("slow")
        queue.add("quick")
        await asyncio.wait_for(quick.wait(), 5)


async def test_a_failing_key_is_tried_again_until_it_succeeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workqueue, "FIRST_RETRY_SECONDS", 0.001)
    tries = 0
    succeeded = asyncio.Event()

    async def work(_: str) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ValueError("broken")
        if tries == 2:
            raise TryAgain("not yet")
        succeeded.set()

    async with working(work) as (queue, telemetry):
        queue.add("a")
        await asyncio.wait_for(succeeded.wait(), 5)
        page = telemetry.page().decode()
    assert 'workqueue_retries_total{name="embedder"} 2.0' in page
    assert 'controller_runtime_reconcile_total{controller="embedder",result="error"} 2.0' in page


async def test_the_time_a_server_named_is_waited_for(eventually: Any) -> None:
    async def work(_: str) -> None:
        raise TryAgain("429", after=60.0)

    async with working(work) as (queue, _):
        loop = asyncio.get_running_loop()
        queue.add("a")
        await eventually(lambda: "a" in queue._timers)
        assert queue._timers["a"].when() - loop.time() > 55


@given(failures=st.integers(1, 200), draw=st.floats(0, 1))
def test_pauses_grow_and_never_pass_the_limit(failures: int, draw: float) -> None:
    async def check() -> None:
        async def work(_: str) -> None: ...

        queue = WorkQueue(work, Telemetry().queue, jitter=lambda: draw)
        queue._failures["a"] = failures - 1
        queue._retry("a", None)
        pause = queue._timers["a"].when() - asyncio.get_running_loop().time()
        assert pause <= workqueue.LAST_RETRY_SECONDS
        assert pause > 0.09

    asyncio.run(check())


async def test_work_that_wants_the_key_again_gets_it() -> None:
    starts = asyncio.Queue[str]()

    async def work(key: str) -> float:
        starts.put_nowait(key)
        return 0.001

    async with working(work) as (queue, _):
        queue.add("a")
        for _ in range(3):
            await asyncio.wait_for(starts.get(), 5)


async def test_nothing_is_remembered_of_a_key_that_is_never_wanted_again(eventually: Any) -> None:
    work = Work()
    async with working(work, spacing=0.01) as (queue, _):
        queue.add("a")
        await work.started.get()
        await eventually(lambda: "a" not in queue and not queue._last_start)


async def test_a_cleared_queue_takes_the_same_keys_again() -> None:
    work = Work()
    async with working(work) as (queue, _):
        queue.add_after("a", 60.0)
        queue.clear()
        assert "a" not in queue
        queue.add("a")
        assert await work.started.get() == "a"


async def test_two_starts_of_a_key_keep_their_distance() -> None:
    work = Work()
    async with working(work, spacing=60.0) as (queue, _):
        queue.add("a")
        await work.started.get()
        await asyncio.sleep(0)
        queue.add("a")
        queue.add("b")
        assert await work.started.get() == "b"
        assert "a" in queue
    assert work.done == ["a", "b"]


async def test_of_two_wishes_for_later_the_earlier_counts() -> None:
    work = Work()
    async with working(work) as (queue, _):
        queue.add_after("a", 60.0)
        queue.add_after("a", 0.001)
        queue.add_after("a", 60.0)
        await asyncio.wait_for(work.started.get(), 5)


async def test_what_has_changed_goes_before_what_is_only_looked_at_again() -> None:
    work = Work()
    work.gate.clear()
    async with working(work, workers=1) as (queue, _):
        queue.add("busy")
        await work.started.get()
        for key in ("c", "b", "a"):
            queue.add(key, urgent=False)
        queue.add("changed")
        queue.add("a")
        work.gate.set()
        assert [await work.started.get() for _ in range(4)] == ["changed", "a", "c", "b"]
        await asyncio.sleep(0.01)
    assert work.done == ["busy", "changed", "a", "c", "b"]


async def test_an_urgent_key_stays_urgent_while_its_spacing_holds_it(eventually: Any) -> None:
    work = Work()
    async with working(work, workers=1, spacing=0.05) as (queue, _):
        queue.add("a")
        await work.started.get()
        await eventually(lambda: not queue.busy_seconds())
        queue.add("a")
        work.gate.clear()
        queue.add("holds")
        assert await work.started.get() == "holds"
        queue.add("patient", urgent=False)
        await eventually(lambda: len(queue) == 2)
        work.gate.set()
        assert [await work.started.get() for _ in range(2)] == ["a", "patient"]


async def test_a_key_cut_off_half_way_is_there_for_the_next_workers() -> None:
    work = Work()
    work.gate.clear()
    async with working(work) as (queue, _):
        queue.add("a")
        await work.started.get()
    assert len(queue) == 1


async def test_work_that_hangs_gives_its_worker_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workqueue, "WORK_SECONDS", 0.01)
    seen = asyncio.Event()

    async def work(key: str) -> None:
        if key == "hangs":
            await asyncio.Event().wait()
        seen.set()

    async with working(work, workers=1) as (queue, _):
        queue.add("hangs")
        queue.add("next")
        await asyncio.wait_for(seen.wait(), 5)
