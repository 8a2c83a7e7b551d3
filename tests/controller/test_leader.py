"""Leader election: one leads, a lost Lease stops the work, a released one moves on at once."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from smart_embedder_operator.kinds import DEPLOYMENTS
from smart_embedder_operator.kube import Forbidden, KubeError
from smart_embedder_operator.leader import LEASES, Elector

pytestmark = pytest.mark.anyio


def elector(kube: Any, identity: str, lease_seconds: float = 60.0) -> Elector:
    return Elector(
        kube,
        namespace="operators",
        name="ours",
        identity=identity,
        deployment="operator",
        retry_seconds=0.01,
        renew_deadline_seconds=0.05,
        lease_seconds=lease_seconds,
    )


@contextlib.asynccontextmanager
async def campaigning(one: Elector) -> AsyncIterator[tuple[asyncio.Event, asyncio.Event]]:
    """Run an elector; its events say that the work began and that it was stopped."""
    began, stopped = asyncio.Event(), asyncio.Event()

    async def lead() -> None:
        began.set()
        stopped.clear()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    task = asyncio.create_task(one.run(lead))
    try:
        yield began, stopped
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def holder(kube: Any) -> str:
    return str(kube.find(LEASES, "ours", "operators")["spec"]["holderIdentity"])


async def test_the_first_replica_leads_and_the_second_waits(kube: Any) -> None:
    async with campaigning(elector(kube, "a")) as (a, _), campaigning(elector(kube, "b")) as (b, _):
        await a.wait()
        await asyncio.sleep(0.05)
        assert holder(kube) == "a"
        assert not b.is_set()


async def test_the_lease_goes_with_the_operators_deployment(kube: Any) -> None:
    kube.put(DEPLOYMENTS, {"metadata": {"name": "operator", "namespace": "operators"}})
    async with campaigning(elector(kube, "a")) as (a, _):
        await a.wait()
    assert holder(kube) == ""

    await kube.delete(DEPLOYMENTS, "operator", "operators")

    assert kube.find(LEASES, "ours", "operators") is None


async def test_a_leader_that_stops_in_good_order_gives_way_at_once(kube: Any) -> None:
    async with contextlib.AsyncExitStack() as later:
        async with campaigning(elector(kube, "a")) as (a, _):
            await a.wait()
            b, _ = await later.enter_async_context(campaigning(elector(kube, "b")))
        await asyncio.wait_for(b.wait(), 5)  # the lease itself would hold for a minute
        assert holder(kube) == "b"


async def test_a_dead_leader_is_followed_when_its_lease_has_not_changed_for_its_duration(
    kube: Any,
) -> None:
    dead = elector(kube, "dead")
    await dead._campaign()
    async with campaigning(elector(kube, "b", lease_seconds=0.1)) as (b, _):
        await asyncio.wait_for(b.wait(), 5)
        assert kube.find(LEASES, "ours", "operators")["spec"]["leaseTransitions"] == 2


async def test_a_living_leader_is_not_followed_however_short_the_lease(kube: Any) -> None:
    async with (
        campaigning(elector(kube, "a")) as (a, _),
        campaigning(elector(kube, "b", lease_seconds=0.5)) as (b, _),
    ):
        await a.wait()
        await asyncio.sleep(0.7)
        assert not b.is_set()


async def test_a_leader_that_cannot_renew_stops_before_another_may_start(kube: Any) -> None:
    async with campaigning(elector(kube, "a")) as (began, stopped):
        await began.wait()
        kube.refuse = lambda verb, *_: KubeError("cut", status=500) if verb == "replace" else None
        await asyncio.wait_for(stopped.wait(), 5)


async def test_a_lease_counts_from_when_it_was_sent_not_from_its_answer(kube: Any) -> None:
    create, written = kube.create, []

    async def slow(*sent: Any) -> Any:
        kept = await create(*sent)
        written.append(time.monotonic())
        return kept

    kube.create = slow
    one = elector(kube, "a")
    await one._campaign()
    assert 0 < one._held_since < written[0]


async def test_a_leader_whose_lease_was_deleted_stops_and_campaigns_again(kube: Any) -> None:
    one = elector(kube, "a")
    one._deadline = 60.0  # it does not wait for that
    async with campaigning(one) as (began, stopped):
        await began.wait()
        began.clear()
        await kube.delete(LEASES, "ours", "operators")
        await asyncio.wait_for(stopped.wait(), 5)
        await asyncio.wait_for(began.wait(), 5)


async def test_a_lease_that_may_not_be_written_is_no_other_replicas(kube: Any) -> None:
    kube.refuse = lambda verb, *_: Forbidden("no", status=403) if verb == "create" else None
    with structlog.testing.capture_logs() as told:
        assert not await elector(kube, "a")._acquired()
    assert [(entry["log_level"], entry["event"]) for entry in told] == [
        ("warning", "the lease could not be written")
    ]


async def test_a_leader_whose_lease_was_taken_stops(kube: Any) -> None:
    async with campaigning(elector(kube, "a")) as (began, stopped):
        await began.wait()
        kube.edit(
            LEASES, "ours", "operators", lambda lease: lease["spec"].update(holderIdentity="thief")
        )
        await asyncio.wait_for(stopped.wait(), 5)


async def test_an_edit_of_the_lease_by_hand_does_not_stop_its_leader(kube: Any) -> None:
    async with campaigning(elector(kube, "a")) as (began, stopped):
        await began.wait()
        kube.edit(LEASES, "ours", "operators", lambda lease: lease["metadata"].update(labels={}))
        await asyncio.sleep(0.1)
        assert not stopped.is_set()


async def test_a_leader_deposed_campaigns_again(kube: Any) -> None:
    async with campaigning(elector(kube, "a")) as (began, stopped):
        await began.wait()
        kube.faults.extend([KubeError("cut", status=503)] * 20)
        await asyncio.wait_for(stopped.wait(), 5)
        began.clear()
        await asyncio.wait_for(began.wait(), 5)


async def test_work_that_fails_ends_the_election(kube: Any) -> None:
    async def lead() -> None:
        raise ValueError("the work is broken")

    with pytest.raises(ExceptionGroup, match="unhandled"):
        await elector(kube, "a").run(lead)
    assert holder(kube) == ""
