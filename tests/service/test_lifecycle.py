"""The state of the process."""

import asyncio
import itertools

import pytest

from smart_embedder.errors import Unavailable
from smart_embedder.lifecycle import Lifecycle, describe
from smart_embedder.results import Progress, State

pytestmark = pytest.mark.anyio

ALLOWED = {
    (State.STARTING, State.READY),
    (State.STARTING, State.DRAINING),
    (State.STARTING, State.FAILED),
    (State.READY, State.DRAINING),
    (State.READY, State.FAILED),
    (State.DRAINING, State.STOPPED),
    (State.DRAINING, State.FAILED),
}


@pytest.mark.parametrize(("here", "there"), list(itertools.product(State, State)))
async def test_only_the_drawn_steps_can_be_taken(here: State, there: State) -> None:
    lifecycle = Lifecycle()
    lifecycle.state = here
    if (here, there) in ALLOWED:
        lifecycle.become(there)
        assert lifecycle.state is there
    else:
        with pytest.raises(RuntimeError):
            lifecycle.become(there)


async def test_work_is_taken_when_ready_and_while_endpoints_are_withdrawn() -> None:
    lifecycle = Lifecycle()
    with pytest.raises(Unavailable, match="starting"):
        lifecycle.check_open()
    lifecycle.become(State.READY)
    lifecycle.check_open()
    lifecycle.become(State.DRAINING)
    assert not lifecycle.ready
    lifecycle.check_open()
    lifecycle.closing = True
    with pytest.raises(Unavailable, match="draining"):
        lifecycle.check_open()


async def test_idle_is_when_the_last_request_is_answered() -> None:
    lifecycle, release = Lifecycle(), asyncio.Event()

    async def request() -> None:
        with lifecycle.at_work():
            await release.wait()

    tasks = [asyncio.create_task(request()) for _ in range(2)]
    await asyncio.sleep(0)
    assert lifecycle.working == 2
    idle = asyncio.create_task(lifecycle.idle())
    await asyncio.sleep(0)
    assert not idle.done()
    release.set()
    await asyncio.gather(*tasks, idle)
    assert lifecycle.working == 0


async def test_what_is_abandoned_ends_now() -> None:
    lifecycle = Lifecycle()

    async def request() -> None:
        with lifecycle.at_work():
            await asyncio.Event().wait()

    task = asyncio.create_task(request())
    await asyncio.sleep(0)
    lifecycle.abandon()
    with pytest.raises(asyncio.CancelledError):
        await task
    await lifecycle.idle()


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (None, "nothing is loaded yet"),
        (
            Progress(stage="downloading", model="a/b", done=1_500_000, total=2_000_000_000),
            "downloading a/b, 2 of 2,000 MB",
        ),
        (Progress(stage="loading", model="a/b"), "loading a/b"),
        (Progress(stage="warming", model="a/b", done=1, total=3), "warming a/b, 1 of 3"),
    ],
)
async def test_progress_is_told_in_words(progress: Progress | None, words: str) -> None:
    assert describe(progress) == words
