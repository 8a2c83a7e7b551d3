"""A world without a cluster: what is decided is applied to plain dicts, and time is ours."""

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from smart_embedder_operator import conditions
from smart_embedder_operator.decision import Decision, decide
from smart_embedder_operator.labels import COMPONENT, EMBEDDER, TRACK
from smart_embedder_operator.observed import Manifest, Nodes, Observed, PodReport
from smart_embedder_operator.platform import Capabilities, Images, Platform

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class World:
    """One Embedder and its children, kept as a cluster would keep them."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.now = NOON
        self.children: dict[tuple[str, str], Manifest] = {}
        self.pods: list[Manifest] = []
        self.events: list[Manifest] = []
        self.reports: dict[str, PodReport] = {}
        self.rivals: list[Manifest] = []
        self.nodes: Nodes | None = Nodes(allocatable={"nvidia.com/gpu": 4})
        self.status: Manifest = {}

    def observe(self) -> Observed:
        return Observed(
            now=self.now,
            objects=(*copy.deepcopy(list(self.children.values())), *self.pods),
            events=tuple(self.events),
            nodes=self.nodes,
            reports=self.reports,
            rivals=tuple(self.rivals),
        )

    def decide(self, manifest: Manifest) -> Decision:
        return decide(manifest | {"status": self.status}, self.platform, self.observe())

    def step(self, manifest: Manifest) -> Decision:
        """Decide and apply, as one reconcile does; what is not wanted goes."""
        decision = self.decide(manifest)
        if decision.objects is not None:
            wanted = {(item["kind"], item["metadata"]["name"]) for item in decision.objects}
            self.children = {key: one for key, one in self.children.items() if key in wanted}
            for item in decision.objects:
                self._apply(item, decision.replicas)
        return decision

    def _apply(self, item: Manifest, replicas: dict[str, int]) -> None:
        key = item["kind"], item["metadata"]["name"]
        live = self.children.get(key, {"metadata": {}})
        new = copy.deepcopy(item)
        new["metadata"]["creationTimestamp"] = (
            live["metadata"].get("creationTimestamp") or self.now.isoformat()
        )
        if item["kind"] == "Deployment":
            before = live.get("spec", {}).get("replicas", 1)
            new["spec"]["replicas"] = replicas.get(key[1], before)
            changed = live.get("spec") != new["spec"]
            new["metadata"]["generation"] = live["metadata"].get("generation", 0) + changed
        if "status" in live:
            new["status"] = live["status"]
        self.children[key] = new
        self.now += timedelta(seconds=1)

    def settle(self) -> None:
        """Every Deployment has all the pods it asks for, new and ready; every Job is done."""
        for (kind, _), item in self.children.items():
            if kind == "Deployment":
                count = item["spec"]["replicas"]
                names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
                item["status"] = dict.fromkeys(names, count) | {
                    "observedGeneration": item["metadata"]["generation"]
                }
            if kind == "Job":
                item["status"] = {"succeeded": 1}

    def converge(self, manifest: Manifest) -> Decision:
        """Reconcile and let pods become ready until nothing changes any more."""
        for _ in range(6):
            self.step(manifest)
            self.settle()
        return self.step(manifest)

    def child(self, kind: str, name: str) -> Manifest:
        return self.children[kind, name]

    def deployments(self) -> dict[str, Manifest]:
        return {name: item for (kind, name), item in self.children.items() if kind == "Deployment"}

    def serving(self) -> str:
        """The track that the Service selects."""
        (service,) = (
            item
            for (kind, _), item in self.children.items()
            if kind == "Service" and set(item["metadata"]["labels"]) & {COMPONENT} == set()
        )
        track: str = service["spec"]["selector"][TRACK]
        return track

    def evaluate(self, manifest: Manifest) -> Manifest:
        """The status, kept as the previous one for the next time."""
        decision = self.decide(manifest)
        self.status = conditions.evaluate(decision, self.observe())
        return self.status

    def pod(
        self,
        track: str,
        name: str = "pod-1",
        *,
        node: str | None = "node-1",
        revision: str = "a",
        component: str = "serving",
        limits: dict[str, str] | None = None,
        **status: Any,
    ) -> Manifest:
        """A pod of a track, with any status."""
        container = {"name": "embedder", "resources": {"limits": limits or {}}}
        pod: Manifest = {
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": {
                    EMBEDDER: "search",
                    COMPONENT: component,
                    TRACK: track,
                    "pod-template-hash": revision,
                },
            },
            "spec": {"containers": [container]} | ({"nodeName": node} if node else {}),
            "status": status,
        }
        self.pods.append(pod)
        return pod

    def event(self, kind: str, name: str, reason: str, message: str) -> None:
        self.events.append(
            {
                "involvedObject": {"kind": kind, "name": name},
                "reason": reason,
                "message": message,
                "lastTimestamp": self.now.isoformat(),
            }
        )


@pytest.fixture(scope="session")
def platform() -> Platform:
    return Platform(
        version="0.1.0",
        namespace="smart-embedder",
        images=Images(cpu="example.com/smart-embedder:1", cuda="example.com/smart-embedder:1-gpu"),
        docs="https://docs.example.com",
        capabilities=Capabilities(
            service_monitor=True,
            prometheus_rule=True,
            scaled_object=True,
            http_route=True,
            custom_metrics=True,
        ),
    )


@pytest.fixture
def world(platform: Platform) -> World:
    return World(platform)


@pytest.fixture(scope="session")
def new_world(platform: Platform) -> Callable[[], World]:
    """A fresh world each time, for properties."""
    return lambda: World(platform)


@pytest.fixture(scope="session")
def embedder() -> Callable[..., Manifest]:
    """Write an Embedder; every argument is a field of its spec."""

    def write(generation: int = 1, **spec: Any) -> Manifest:
        return {
            "apiVersion": "smart-embedder.io/v1alpha1",
            "kind": "Embedder",
            "metadata": {
                "name": "search",
                "namespace": "team",
                "uid": "uid-1",
                "generation": generation,
            },
            "spec": {"models": {"embedding": "BAAI/bge-m3"}} | spec,
        }

    return write
