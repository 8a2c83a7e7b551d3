"""Whole reconciles on an API server in memory: converge from anywhere, then be quiet."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from smart_embedder_operator import kinds
from smart_embedder_operator.cluster import Cluster
from smart_embedder_operator.converge import Converger
from smart_embedder_operator.heartbeat import Heartbeat
from smart_embedder_operator.kube import Conflict, Forbidden, Invalid, KubeError
from smart_embedder_operator.labels import common
from smart_embedder_operator.observe import Observer
from smart_embedder_operator.platform import Images, Platform
from smart_embedder_operator.publish import Publisher
from smart_embedder_operator.reconcile import FAILING_SECONDS, Reconciler
from smart_embedder_operator.telemetry import Telemetry
from smart_embedder_operator.workqueue import TryAgain

pytestmark = pytest.mark.anyio

KEY = ("ml", "search")
CHILDREN = [kind for kind in kinds.built(kinds.Capabilities()) if kind != kinds.VOLUME_CLAIMS]


class Bench:
    """One operator's reconcile over a cluster in memory."""

    def __init__(self, kube: Any) -> None:
        self.kube = kube
        self.telemetry = Telemetry()
        self.now = 0.0
        platform = Platform(
            version="1", namespace="ops", images=Images(cpu="service:cpu", cuda="service:gpu")
        )
        self.cluster = Cluster(kube, platform, ())
        self.heartbeat = Heartbeat()
        self.publisher = Publisher(kube, self.heartbeat)
        self.reports: dict[str, Any] = {}
        self.reconciler = Reconciler(
            kube=kube,
            cluster=self.cluster,
            observer=Observer(kube, self.cluster, lambda *_: self.reports),
            converger=Converger(kube, self.heartbeat),
            publisher=self.publisher,
            telemetry=self.telemetry,
            resync_seconds=600.0,
            jitter=lambda: 0.5,
            clock=lambda: self.now,
        )

    def write(self, **spec: Any) -> None:
        """Write the Embedder as a person would."""
        full = {"models": {"embedding": "BAAI/bge-m3"}} | spec
        self.kube.put(
            kinds.EMBEDDERS, {"metadata": {"name": "search", "namespace": "ml"}, "spec": full}
        )

    async def look(self) -> float | None:
        return await self.reconciler.reconcile(KEY)

    async def settle(self) -> None:
        """Look until a look writes nothing."""
        for _ in range(12):
            self.kube.writes.clear()
            await self.look()
            if not self.kube.writes:
                return
        raise AssertionError(f"does not settle: {self.kube.writes}")

    @property
    def embedder(self) -> Any:
        return self.kube.find(kinds.EMBEDDERS, "search", "ml")

    def condition(self, name: str) -> tuple[str, str]:
        found = next(c for c in self.embedder["status"]["conditions"] if c["type"] == name)
        return found["status"], found["reason"]

    def state(self) -> dict[Any, Any]:
        """All children without what the server alone writes."""
        return {
            key: (obj.get("spec"), obj.get("data"), obj["metadata"]["labels"])
            for key, obj in self.kube.objects.items()
            if key[1] not in {"embedders", "events"}
        }


@pytest.fixture
def bench(kube: Any) -> Bench:
    return Bench(kube)


async def test_an_embedder_becomes_its_children_and_the_next_look_writes_nothing(
    bench: Bench, kube: Any
) -> None:
    bench.write(autoscaling={"mode": "HPA", "minReplicas": 1, "maxReplicas": 3})
    await bench.settle()
    held = {kind for _, kind, _, _ in kube.objects}
    assert held >= {"deployments", "services", "configmaps", "horizontalpodautoscalers"}
    assert bench.embedder["status"]["observedGeneration"] == 1
    assert bench.condition("Ready")[0] == "False"


async def test_everything_hangs_on_the_embedder_and_nothing_has_a_finalizer(
    bench: Bench, kube: Any
) -> None:
    bench.write(autoscaling={"mode": "HPA", "minReplicas": 1, "maxReplicas": 3})
    await bench.settle()
    assert all("finalizers" not in obj["metadata"] for obj in kube.objects.values())
    kube.remove(kinds.EMBEDDERS, "search", "ml")
    assert {key[1] for key in kube.objects} == {"events"}
    kube.writes.clear()
    assert await bench.look() is None
    assert kube.writes == []


async def test_who_is_in_trouble_is_remembered_until_it_is_well_or_gone(
    bench: Bench, kube: Any
) -> None:
    bench.write()
    await bench.settle()
    assert bench.reconciler.troubled == set()
    pod = {
        "metadata": {"name": "a", "namespace": "ml", "labels": common("search")},
        "spec": {"containers": []},
        "status": {"phase": "Pending"},
    }
    kube.put(kinds.PODS, pod)
    await bench.look()
    assert bench.reconciler.troubled == {KEY}
    kube.remove(kinds.PODS, "a", "ml")
    await bench.look()
    assert bench.reconciler.troubled == set()
    kube.put(kinds.PODS, pod)
    await bench.look()
    kube.remove(kinds.EMBEDDERS, "search", "ml")
    await bench.look()
    assert bench.reconciler.troubled == set()


async def test_an_embedder_on_its_way_out_is_left_alone(bench: Bench, kube: Any) -> None:
    bench.write()
    kube.edit(
        kinds.EMBEDDERS,
        "search",
        "ml",
        lambda it: it["metadata"].update(deletionTimestamp="2026-11-20T00:00:00Z"),
    )
    assert await bench.look() is None
    assert kube.writes == []


async def test_an_invalid_spec_is_told_and_touches_nothing_that_runs(
    bench: Bench,
) -> None:
    bench.write()
    await bench.settle()
    before = bench.state()
    bench.write(replicas=2, autoscaling={"mode": "HPA", "minReplicas": 1, "maxReplicas": 3})
    await bench.settle()
    assert bench.state() == before
    assert bench.condition("Ready") == ("False", "InvalidSpec")


async def test_a_paused_embedder_is_frozen_and_says_so(bench: Bench, kube: Any) -> None:
    bench.write()
    await bench.settle()
    bench.write(paused=True, service={"port": 9999})
    deleted = next(key for key in kube.objects if key[1] == "services")
    kube.remove(kinds.SERVICES, deleted[3], "ml")
    await bench.settle()
    assert deleted not in kube.objects
    bench.write(service={"port": 9999})
    await bench.settle()
    assert kube.objects[deleted]


@pytest.mark.parametrize("replicas", [1, 5])
async def test_switching_autoscaling_on_and_off_never_changes_the_number_of_pods(
    bench: Bench, kube: Any, replicas: int
) -> None:
    bench.write(replicas=replicas)
    await bench.settle()
    seen: list[int] = []

    def note(_: str, resource: Any, obj: Any) -> None:
        if resource == kinds.DEPLOYMENTS:
            seen.append(obj["spec"]["replicas"])

    kube.watchers.append(note)
    scaling = {"mode": "HPA", "minReplicas": 1, "maxReplicas": 8}
    for spec in ({"autoscaling": scaling}, {}, {"autoscaling": scaling}):
        bench.write(**spec)
        await bench.settle()
    assert set(seen) <= {replicas}
    (deployment,) = [obj for key, obj in kube.objects.items() if key[1] == "deployments"]
    assert deployment["spec"]["replicas"] == replicas


async def test_a_refused_child_is_on_the_status_and_gone_when_it_is_taken(
    bench: Bench, kube: Any
) -> None:
    bench.write()

    def refuse(verb: str, resource: Any, _: str) -> KubeError | None:
        if (verb, resource) == ("apply", kinds.DEPLOYMENTS):
            return Invalid("exceeded quota: gpus, requested: 1, used: 4", status=403)
        return None

    kube.refuse = refuse
    with pytest.raises(TryAgain, match="exceeded quota"):
        await bench.look()
    assert bench.condition("Ready") == ("False", "QuotaExceeded")
    kube.refuse = lambda *_: None
    await bench.settle()
    assert bench.condition("Ready")[1] != "QuotaExceeded"


async def test_a_webhook_that_nobody_answers_for_is_on_the_status_after_some_seconds(
    bench: Bench, kube: Any
) -> None:
    bench.write()

    def refuse(verb: str, resource: Any, _: str) -> KubeError | None:
        if (verb, resource) == ("apply", kinds.SERVICES):
            return KubeError('failed calling webhook "policy.example.com"', status=500)
        return None

    kube.refuse = refuse
    for _ in range(10):
        with pytest.raises(TryAgain, match=r"policy\.example\.com"):
            await bench.look()
        assert "status" not in bench.embedder
        bench.now += FAILING_SECONDS / 10
    for _ in range(2):
        with pytest.raises(TryAgain, match=r"policy\.example\.com"):
            await bench.look()
        assert bench.condition("Ready") == ("False", "ApplyFailed")
        made = [key[3] for key in kube.objects if key[1] == "deployments"]
        kube.remove(kinds.DEPLOYMENTS, made[0], "ml")
    kube.refuse = lambda *_: None
    await bench.settle()
    assert bench.condition("Degraded") == ("False", "NoFault")
    bench.write(service={"port": 9000})
    kube.refuse = refuse
    with pytest.raises(TryAgain):
        await bench.look()
    assert bench.condition("Degraded") == ("False", "NoFault")


async def test_a_list_that_is_forbidden_is_on_the_status_and_changes_nothing_else(
    bench: Bench, kube: Any
) -> None:
    bench.write()
    await bench.settle()
    before, status = bench.state(), bench.embedder["status"]
    kube.refuse = lambda verb, resource, _: (
        Forbidden("User cannot list services", status=403)
        if (verb, resource) == ("list", kinds.SERVICES)
        else None
    )
    bench.write(service={"port": 9000})
    with pytest.raises(TryAgain, match="User cannot list services"):
        await bench.look()
    assert bench.embedder["status"] == status
    bench.now += FAILING_SECONDS
    for _ in range(2):
        kube.writes.clear()
        with pytest.raises(TryAgain, match="User cannot list services"):
            await bench.look()
        assert bench.condition("Ready") == ("Unknown", "Forbidden")
        assert bench.condition("Degraded") == ("True", "Forbidden")
    assert kube.writes == []
    assert bench.state() == before
    kube.refuse = lambda *_: None
    await bench.settle()
    assert bench.condition("Degraded") == ("False", "NoFault")
    assert bench.state() != before


async def test_who_leads_again_is_as_patient_as_at_first(bench: Bench, kube: Any) -> None:
    bench.write()
    await bench.settle()
    kube.faults.append(KubeError("overloaded", status=429))
    await _try(bench)
    bench.reconciler.retire()
    bench.now += FAILING_SECONDS
    bench.write(service={"port": 9000})
    kube.refuse = lambda verb, *_: KubeError("overloaded", status=429) if verb == "apply" else None
    await _try(bench)
    assert bench.condition("Degraded") == ("False", "NoFault")


@pytest.mark.parametrize("status", [409, 429, 500, 503, None])
async def test_a_failing_api_server_asks_for_another_try_and_names_when(
    bench: Bench, kube: Any, status: int | None
) -> None:
    bench.write()
    kube.faults.append(KubeError("not now", status=status, retry_after=3.0))
    with pytest.raises(TryAgain) as wish:
        await bench.look()
    assert wish.value.after == 3.0


@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(data=st.data())
def test_any_sequence_of_edits_faults_and_vandalism_converges_to_the_same(
    data: st.DataObject, make_kube: Callable[[], Any]
) -> None:
    """Whatever was done on the way, the end depends on the last spec alone."""

    async def check() -> None:
        bench = Bench(make_kube())
        bench.write()
        for _ in range(data.draw(st.integers(1, 5))):
            await _disturb(bench, data)
            for _ in range(data.draw(st.integers(0, 2))):
                await _try(bench)
        final = data.draw(SPECS) | {"replicas": 2}  # unset, the number would stay as it was
        bench.write(**final)
        bench.kube.faults.clear()
        await bench.settle()
        fresh = Bench(make_kube())
        fresh.write(**final)
        await fresh.settle()
        assert bench.state() == fresh.state()

    asyncio.run(check())


SPECS = st.fixed_dictionaries(
    {},
    optional={
        "service": st.sampled_from([{"port": 8000}, {"port": 9000}]),
        "serving": st.sampled_from([{"maxBatchTokens": 4096}, {"queueSize": 10}]),
        "replicas": st.integers(1, 3),
        "networkPolicy": st.sampled_from([{"enabled": False}, {"enabled": True}]),
        "cache": st.sampled_from([{"type": "EmptyDir"}]),
    },
)
FAULTS = st.sampled_from(
    [KubeError("busy", status=429), Conflict("changed", status=409), KubeError("", status=500)]
)


async def _disturb(bench: Bench, data: st.DataObject) -> None:
    what = data.draw(st.sampled_from(["edit", "delete", "vandalise", "fault"]))
    children = [key for key in bench.kube.objects if key[1] not in {"embedders", "events"}]
    if what == "edit":
        bench.write(**data.draw(SPECS))
    elif what == "fault":
        bench.kube.faults.extend([None] * data.draw(st.integers(0, 30)) + [data.draw(FAULTS)])
    elif children:
        key = data.draw(st.sampled_from(sorted(children)))
        kind = next(kind for kind in CHILDREN if kind.plural == key[1])
        if what == "delete":
            bench.kube.remove(kind, key[3], "ml")
        else:
            bench.kube.edit(kind, key[3], "ml", _vandalise)


def _vandalise(obj: Any) -> None:
    obj["metadata"]["labels"]["app.kubernetes.io/name"] = "vandalised"
    obj.pop("data", None)


async def _try(bench: Bench) -> None:
    try:
        await bench.look()
    except TryAgain:
        return


async def test_an_unsettled_embedder_is_looked_at_less_and_less_often(bench: Bench) -> None:
    bench.write()
    await bench.settle()
    pauses = [await bench.look() for _ in range(10)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 600.0
    bench.write(service={"port": 9000})
    await bench.look()
    assert (await bench.look() or 0) < 30


async def test_conditions_are_on_the_metrics_page_until_the_embedder_is_gone(
    bench: Bench, kube: Any
) -> None:
    bench.write()
    await bench.settle()
    shown = (
        'smart_embedder_condition{embedder="search",namespace="ml",status="False",type="Ready"} 1'
    )
    assert shown in bench.telemetry.page().decode()
    kube.remove(kinds.EMBEDDERS, "search", "ml")
    await bench.look()
    assert 'embedder="search"' not in bench.telemetry.page().decode()


async def test_a_condition_that_applies_no_more_leaves_the_metrics_page(bench: Bench) -> None:
    bench.write(autoscaling={"mode": "HPA", "maxReplicas": 3})
    await bench.settle()
    assert 'type="AutoscalerReady"' in bench.telemetry.page().decode()
    bench.write()
    await bench.settle()
    page = bench.telemetry.page().decode()
    assert 'type="AutoscalerReady"' not in page
    assert 'type="Ready"' in page


async def test_nothing_is_remembered_of_an_embedder_that_is_gone(bench: Bench, kube: Any) -> None:
    bench.write()
    await bench.settle()
    assert bench.publisher._last
    kube.faults.append(KubeError("busy", status=429))
    await _try(bench)
    assert bench.reconciler._failing_since
    kube.remove(kinds.EMBEDDERS, "search", "ml")
    await bench.look()
    assert not bench.publisher._last
    assert not bench.reconciler._failing_since


async def test_events_tell_the_turns_of_conditions_and_nothing_twice(
    bench: Bench, kube: Any
) -> None:
    bench.write()
    await bench.settle()
    told = [obj for key, obj in kube.objects.items() if key[1] == "events"]
    assert told
    assert all(
        event["involvedObject"]["uid"] == bench.embedder["metadata"]["uid"] for event in told
    )
    for _ in range(3):
        await bench.look()
    assert len([key for key in kube.objects if key[1] == "events"]) == len(told)


async def test_events_that_are_not_taken_do_not_stop_the_work(bench: Bench, kube: Any) -> None:
    bench.write()
    kube.refuse = lambda _, resource, __: (
        KubeError("terminating", status=403) if resource == kinds.EVENTS else None
    )
    await bench.settle()
    assert bench.embedder["status"]["conditions"]
