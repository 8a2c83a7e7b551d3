"""The door."""

import asyncio

import pytest

from smart_embedder.errors import DeadlineExceeded, Overloaded, Unavailable
from smart_embedder.options import SchedulingOptions
from smart_embedder.scheduling.admission import Door
from smart_embedder.scheduling.job import Ticket
from smart_embedder.scheduling.observer import Kind, Lane

pytestmark = pytest.mark.anyio


class _Devices:
    alive = True
    rate = 0.0

    def seconds(self, tokens: float) -> float:
        return tokens / self.rate if self.rate else 0.0


@pytest.fixture
def devices() -> _Devices:
    return _Devices()


@pytest.fixture
def door(devices, recorder) -> Door:
    options = SchedulingOptions(max_queue_requests=4, max_rerank_requests=1)
    return Door(options, 100, devices, recorder, clock=lambda: 0.0)


def _ticket(
    tokens: int = 1,
    lane: Lane = Lane.INTERACTIVE,
    kind: Kind = Kind.EMBED,
    deadline: float | None = None,
) -> Ticket:
    return Ticket(kind, lane, "", 1, deadline, tokens)


async def _enter(door: Door, count: int, **facts) -> list[Ticket]:
    tickets = [_ticket(**facts) for _ in range(count)]
    for ticket in tickets:
        await door.enter(ticket)
    return tickets


async def test_requests_are_counted_by_their_kind(door, recorder) -> None:
    await _enter(door, 4)
    with pytest.raises(Overloaded) as caught:
        await door.enter(_ticket())
    assert (caught.value.reason, caught.value.limit) == ("requests", 4)
    await door.enter(_ticket(kind=Kind.RERANK))
    with pytest.raises(Overloaded):
        await door.enter(_ticket(kind=Kind.RERANK))
    assert recorder.of("refused") == [(Kind.EMBED, "requests"), (Kind.RERANK, "requests")]
    assert len(recorder.of("admitted")) == 5


async def test_bulk_leaves_room_for_whoever_waits_in_person(door) -> None:
    await _enter(door, 3, lane=Lane.BULK)
    with pytest.raises(Overloaded):
        await door.enter(_ticket(lane=Lane.BULK))
    await door.enter(_ticket())


async def test_tokens_are_counted_by_lane_and_an_empty_lane_takes_anything(door) -> None:
    await door.enter(_ticket(1000, Lane.BULK))
    with pytest.raises(Overloaded) as caught:
        await door.enter(_ticket(1, Lane.BULK))
    assert caught.value.reason == "tokens"
    await door.enter(_ticket(60))
    with pytest.raises(Overloaded):
        await door.enter(_ticket(60))


async def test_a_wait_beyond_the_deadline_is_refused_now(door, devices) -> None:
    devices.rate = 10
    await door.enter(_ticket(50))
    with pytest.raises(Overloaded) as caught:
        await door.enter(_ticket(deadline=4.9))
    assert caught.value.reason == "wait"
    await door.enter(_ticket(deadline=5.1))


async def test_bulk_ahead_does_not_make_an_interactive_request_late(door, devices) -> None:
    devices.rate = 10
    await door.enter(_ticket(1000, Lane.BULK))
    await door.enter(_ticket(deadline=1.0))


async def test_the_way_back_is_told_from_the_measured_rate(door, devices) -> None:
    await _enter(door, 4, tokens=20)
    for rate, expected in ((0, 1), (8, 5), (1000, 1), (0.01, 60)):
        devices.rate = rate
        with pytest.raises(Overloaded) as caught:
            await door.enter(_ticket())
        assert caught.value.retry_after == expected


async def test_an_answer_gives_its_place_and_its_tokens_back(door) -> None:
    [first, *_] = await _enter(door, 4, tokens=20)
    door.settle(first, 30)
    assert door.tokens[Lane.INTERACTIVE] == 90
    door.pay(first, 25)
    assert door.tokens[Lane.INTERACTIVE] == 65
    door.leave(first)
    assert door.tokens[Lane.INTERACTIVE] == 60
    door.pay(first, 25)
    assert door.tokens[Lane.INTERACTIVE] == 60
    await door.enter(_ticket())


async def test_who_waits_gets_the_next_place_and_nobody_overtakes(door) -> None:
    [first, *_] = await _enter(door, 4)
    waiting = asyncio.create_task(door.enter(_ticket(), wait_seconds=10))
    await asyncio.sleep(0)
    door.leave(first)
    with pytest.raises(Overloaded):
        await door.enter(_ticket())
    await waiting
    assert len(door.inside) == 4


async def test_who_has_waited_long_enough_is_refused(door, recorder) -> None:
    await _enter(door, 4)
    with pytest.raises(Overloaded):
        await door.enter(_ticket(), wait_seconds=0.001)
    assert recorder.of("refused") == [(Kind.EMBED, "requests")]
    assert not door._waiters


async def test_nobody_waits_at_the_door_past_its_own_deadline(door, recorder) -> None:
    await _enter(door, 4)
    async with asyncio.timeout(10):
        with pytest.raises(DeadlineExceeded):
            await door.enter(_ticket(deadline=0.001), wait_seconds=3600)
    assert not door._waiters
    assert not recorder.of("refused")


async def test_patience_that_ends_before_the_deadline_is_a_refusal(door) -> None:
    await _enter(door, 4)
    with pytest.raises(Overloaded):
        await door.enter(_ticket(deadline=2), wait_seconds=0.001)


async def test_who_comes_after_its_deadline_is_late_though_there_is_room(door, recorder) -> None:
    with pytest.raises(DeadlineExceeded):
        await door.enter(_ticket(deadline=-1))
    assert not door.inside
    assert not recorder.of("refused")


async def test_a_waiter_of_another_kind_does_not_take_a_place_it_cannot_use(door) -> None:
    [first, *_] = await _enter(door, 4)
    await door.enter(_ticket(kind=Kind.RERANK))
    ranking = asyncio.create_task(door.enter(_ticket(kind=Kind.RERANK), wait_seconds=10))
    embedding = asyncio.create_task(door.enter(_ticket(), wait_seconds=10))
    await asyncio.sleep(0)
    door.leave(first)
    await embedding
    ranking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ranking


async def test_everybody_who_fits_into_what_a_large_request_held_is_let_in(door) -> None:
    [large] = await _enter(door, 1, tokens=90)
    line = [asyncio.create_task(door.enter(_ticket(20), wait_seconds=10)) for _ in range(2)]
    await asyncio.sleep(0)
    door.leave(large)
    await asyncio.gather(*line)
    assert len(door.inside) == 2


async def test_who_leaves_the_line_just_when_let_in_was_never_admitted(door, recorder) -> None:
    inside = await _enter(door, 4)
    gone = asyncio.create_task(door.enter(_ticket(), wait_seconds=10))
    await asyncio.sleep(0)
    for ticket in inside:
        door.leave(ticket)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert len(recorder.of("admitted")) == 4
    assert door.empty.is_set()


async def test_who_leaves_the_line_just_when_let_in_gives_the_place_on(door) -> None:
    [first, *_] = await _enter(door, 4)
    gone = asyncio.create_task(door.enter(_ticket(), wait_seconds=10))
    next_one = asyncio.create_task(door.enter(_ticket(), wait_seconds=10))
    await asyncio.sleep(0)
    door.leave(first)
    gone.cancel()
    await next_one
    assert gone.cancelled()
    assert len(door.inside) == 4


async def test_the_line_outside_is_bounded(door) -> None:
    await _enter(door, 4)
    line = [asyncio.create_task(door.enter(_ticket(), wait_seconds=10)) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await door.enter(_ticket(), wait_seconds=10)
    door.close("draining")
    for task in line:
        with pytest.raises(Unavailable):
            await task


async def test_a_closed_door_or_dead_devices_are_unavailable(door, devices, recorder) -> None:
    devices.alive = False
    with pytest.raises(Unavailable):
        await door.enter(_ticket())
    devices.alive = True
    door.close("draining")
    with pytest.raises(Unavailable) as caught:
        await door.enter(_ticket())
    assert caught.value.message == "draining"
    assert recorder.of("refused") == [(Kind.EMBED, "unavailable")] * 2
