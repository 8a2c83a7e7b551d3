"""Observing: everything read, the dear things only when something is wrong."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from smart_embedder_operator import kinds
from smart_embedder_operator.cluster import Cluster, summed
from smart_embedder_operator.kube import Forbidden, KubeError
from smart_embedder_operator.labels import common
from smart_embedder_operator.observe import EVENTS_OF, Observer, is_troubled
from smart_embedder_operator.platform import Capabilities, Images, Platform
from smart_embedder_operator.publish import patch

pytestmark = pytest.mark.anyio

EMBEDDER = {"metadata": {"name": "search", "namespace": "ml", "uid": "1"}, "spec": {}}


def platform() -> Platform:
    return Platform(version="1", namespace="ops", images=Images(cpu="a", cuda="b"))


@pytest.fixture
def cluster(kube: Any) -> Cluster:
    return Cluster(kube, platform(), ())


@pytest.fixture
def observer(kube: Any, cluster: Cluster) -> Observer:
    return Observer(kube, cluster, lambda *_: {})


def pod(name: str, *, ready: bool) -> dict[str, Any]:
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
    metadata = {"name": name, "namespace": "ml", "labels": common("search")}
    return {"metadata": metadata, "status": status}


def event(kube: Any, name: str, about: str, at: datetime) -> None:
    subject = kube.find(kinds.PODS, about, "ml")["metadata"]
    kube.put(
        kinds.EVENTS,
        {
            "metadata": {"name": name, "namespace": "ml"},
            "involvedObject": {"kind": "Pod", "name": about, "uid": subject["uid"]},
            "lastTimestamp": at.isoformat(),
        },
    )


async def test_a_well_embedder_costs_no_look_at_nodes_events_or_rivals(
    kube: Any, observer: Observer
) -> None:
    kube.put(kinds.PODS, pod("a", ready=True))
    seen = await observer.observe(EMBEDDER)
    assert [one["metadata"]["name"] for one in seen.of("Pod")] == ["a"]
    assert {kind for _, kind in kube.reads}.isdisjoint({"Node", "Event", "Embedder"})


async def test_trouble_brings_its_events_of_the_last_hour_in_order_and_the_nodes(
    kube: Any, observer: Observer
) -> None:
    kube.put(kinds.PODS, pod("a", ready=False))
    kube.put(kinds.PODS, pod("well", ready=True))
    now = datetime.now(UTC)
    event(kube, "newer", "a", now)
    event(kube, "older", "a", now - timedelta(minutes=5))
    event(kube, "stale", "a", now - timedelta(hours=2))
    event(kube, "strange", "well", now)
    seen = await observer.observe(EMBEDDER)
    assert [one["metadata"]["name"] for one in seen.events] == ["older", "newer"]
    assert seen.nodes is not None


async def test_many_pods_in_trouble_do_not_mean_many_requests(
    kube: Any, observer: Observer
) -> None:
    for number in range(50):
        kube.put(kinds.PODS, pod(f"p{number}", ready=False))
    await observer.observe(EMBEDDER)
    assert sum(kind == "Event" for _, kind in kube.reads) == EVENTS_OF


async def test_rivals_are_the_others_with_a_route(kube: Any, observer: Observer) -> None:
    for name, spec in (("routed", {"route": {"hostnames": ["a"]}}), ("plain", {})):
        kube.put(kinds.EMBEDDERS, {"metadata": {"name": name, "namespace": "x"}, "spec": spec})
    asking = EMBEDDER | {"spec": {"route": {"hostnames": ["a"]}}}
    seen = await observer.observe(asking)
    assert [one["metadata"]["name"] for one in seen.rivals] == ["routed"]


async def test_what_may_not_be_listed_is_named_beside_what_may(
    kube: Any, observer: Observer
) -> None:
    kube.put(kinds.PODS, pod("a", ready=False))
    hidden = {kinds.JOBS, kinds.DEPLOYMENTS, kinds.EVENTS, kinds.EMBEDDERS}
    kube.refuse = lambda _, resource, __: (
        Forbidden(f"no {resource.plural} for you", status=403) if resource in hidden else None
    )
    seen = await observer.observe(EMBEDDER | {"spec": {"route": {"hostnames": ["a"]}}})
    assert list(seen.unseen) == ["Deployment", "Embedder", "Event", "Job"]
    assert seen.unseen["Job"] == "no jobs for you"
    assert [one["metadata"]["name"] for one in seen.of("Pod")] == ["a"]


async def test_a_list_that_fails_otherwise_ends_the_look(kube: Any, observer: Observer) -> None:
    kube.refuse = lambda *_: KubeError("overloaded", status=429)
    with pytest.raises(KubeError, match="overloaded"):
        await observer.observe(EMBEDDER)


async def test_a_namespaced_install_lives_without_seeing_nodes(kube: Any, cluster: Cluster) -> None:
    kube.refuse = lambda _, resource, __: (
        Forbidden("nodes is forbidden", status=403) if resource == kinds.NODES else None
    )
    assert await cluster.nodes() is None
    kube.refuse = lambda *_: KubeError("asked again", status=500)
    assert await cluster.nodes() is None


async def test_a_change_of_the_nodes_is_told_once_whoever_looked_at_them_first(
    kube: Any, cluster: Cluster
) -> None:
    def node(ready: str) -> dict[str, Any]:
        conditions = [{"type": "Ready", "status": ready}]
        return {"metadata": {"name": "n1"}, "status": {"conditions": conditions}}

    kube.put(kinds.NODES, node("True"))
    assert await cluster.nodes_changed()
    kube.put(kinds.NODES, node("Unknown"))
    cluster._nodes_until = 0.0
    await cluster.nodes()  # an Embedder's look, which says nothing to the others
    assert await cluster.nodes_changed()
    assert not await cluster.nodes_changed()


async def test_only_the_named_namespaces_are_listed(kube: Any) -> None:
    for place in ("ml", "search", "others"):
        kube.put(kinds.EMBEDDERS, {"metadata": {"name": "a", "namespace": place}, "spec": {}})
    found = await Cluster(kube, platform(), ("ml", "search")).everywhere(kinds.EMBEDDERS)
    assert [one["metadata"]["namespace"] for one in found] == ["ml", "search"]


async def test_capabilities_are_found_by_kind_and_a_change_is_noticed(
    kube: Any, cluster: Cluster
) -> None:
    kube.groups["monitoring.coreos.com", "v1"] = frozenset({"Prometheus"})
    assert not await cluster.refresh()
    kube.groups["monitoring.coreos.com", "v1"] = frozenset({"ServiceMonitor"})
    kube.groups["custom.metrics.k8s.io", "v1beta1"] = frozenset({"MetricValueList"})
    assert await cluster.refresh()
    assert not await cluster.refresh()
    expected = Capabilities(service_monitor=True, custom_metrics=True)
    assert cluster.platform.capabilities == expected
    assert kinds.SERVICE_MONITORS in kinds.observed(expected)
    assert kinds.PROMETHEUS_RULES not in kinds.observed(expected)


def test_nodes_are_summed_by_extended_resource_and_sorted_by_health() -> None:
    def node(name: str, ready: str, gpus: str) -> dict[str, Any]:
        status = {
            "allocatable": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": gpus},
            "conditions": [{"type": "Ready", "status": ready}],
        }
        return {"metadata": {"name": name}, "status": status}

    found = summed([node("a", "True", "4"), node("b", "Unknown", "2"), node("c", "False", "0")])
    assert found.allocatable == {"nvidia.com/gpu": 6}
    assert found.ready == {"a"}
    assert found.lost == {"b", "c"}


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1, "b": 2}, {"a": 1}, {"b": None}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "z": 3}}, {"a": {"y": None, "z": 3}}),
        ({"a": [1, 2]}, {"a": [2]}, {"a": [2]}),
        ({"a": {"x": 1}}, {"a": {"x": 1}}, {}),
    ],
)
def test_a_status_is_patched_with_its_changes_alone(
    before: dict[str, Any], after: dict[str, Any], change: dict[str, Any]
) -> None:
    assert patch(before, after) == change


@pytest.mark.parametrize(
    ("status", "troubled"),
    [({}, True), ({"active": 1}, False), ({"succeeded": 1}, False), ({"failed": 2}, True)],
)
def test_a_download_that_neither_runs_nor_is_done_is_asked_why(
    status: dict[str, int], troubled: bool
) -> None:
    assert is_troubled({"kind": "Job", "status": status}) == troubled


def test_an_evicted_pod_takes_no_look_from_those_that_are_in_trouble() -> None:
    assert is_troubled({"kind": "Pod", "status": {"phase": "Pending"}})
    assert not is_troubled({"kind": "Pod", "status": {"phase": "Failed", "reason": "Evicted"}})
