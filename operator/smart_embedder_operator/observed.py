"""What was seen of one Embedder and around it, frozen: all that decisions may look at.

`observe` fills it, and `reconcile` adds what was refused; nothing here asks the cluster anything.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from msgspec import Struct

from smart_embedder_operator.labels import COMPONENT, TRACK

Manifest = dict[str, Any]


class PodReport(Struct, frozen=True, kw_only=True):
    """What a running pod says of itself on its metrics port."""

    fingerprint: str | None = None
    """The service's own vector fingerprint, as in X-Vector-Fingerprint."""
    revisions: dict[str, str] = {}
    """Resolved commit by role of the model: embedding, dense, reranker."""
    queue_depth: int | None = None


class Refusal(Struct, frozen=True, kw_only=True):
    """An object that the API server did not take."""

    kind: str
    name: str
    code: int
    message: str


class Nodes(Struct, frozen=True, kw_only=True):
    """The cluster's nodes in sum; a namespaced install has no right to see them."""

    allocatable: dict[str, int] = {}
    """Whole numbers of extended resources over all nodes, {nvidia.com/gpu: 4}."""
    ready: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    """Nodes whose Ready condition is Unknown or False."""


class Observed(Struct, frozen=True, kw_only=True):
    """One Embedder's surroundings at one moment."""

    now: datetime
    """UTC."""
    objects: tuple[Manifest, ...] = ()
    """Every labelled child and its own offspring: Deployment, ReplicaSet, Pod, Service, ConfigMap,
    PersistentVolumeClaim, Job, HorizontalPodAutoscaler, ScaledObject, HTTPRoute. Each carries its
    `kind`, which the items of a list do not have by themselves."""
    events: tuple[Manifest, ...] = ()
    """Warning and scale-up events about those objects, of the last hour."""
    nodes: Nodes | None = None
    rivals: tuple[Manifest, ...] = ()
    """The other Embedders of the cluster that have a route."""
    reports: dict[str, PodReport] = {}
    """By pod name; only pods that answered."""
    unseen: dict[str, str] = {}
    """Kinds that we may not list, with the API server's words: what there is, is not known then."""
    refusals: tuple[Refusal, ...] = ()
    """What the last apply could not write."""

    def of(self, kind: str) -> tuple[Manifest, ...]:
        """The objects of one kind."""
        return tuple(item for item in self.objects if item["kind"] == kind)

    def named(self, kind: str, name: str) -> Manifest | None:
        """One object, if it is there."""
        return next((o for o in self.of(kind) if o["metadata"]["name"] == name), None)

    def pods(self, track: str) -> tuple[Manifest, ...]:
        """The serving pods of one track, those that are going included."""
        return tuple(
            pod
            for pod in self.of("Pod")
            if label(pod, TRACK) == track
            and label(pod, COMPONENT) == "serving"
            and not has_ended(pod)
        )

    def events_about(self, item: Manifest) -> Iterator[Manifest]:
        """Events whose subject is this object, newest last."""
        kind, name = item["kind"], item["metadata"]["name"]
        for event in self.events:
            subject = event.get("involvedObject") or event.get("regarding") or {}
            if subject.get("kind") == kind and subject.get("name") == name:
                yield event

    def events_since(self, item: Manifest, further: frozenset[str]) -> tuple[Manifest, ...]:
        """Events about this object after the last that says it got further: others are past."""
        events = tuple(self.events_about(item))
        marks = [n for n, event in enumerate(events, 1) if event.get("reason") in further]
        return events[max(marks, default=0) :]


def has_ended(pod: Manifest) -> bool:
    """Whether a pod's containers never run again: it is evicted, or done, and holds nothing."""
    return (pod.get("status") or {}).get("phase") in {"Failed", "Succeeded"}


def label(item: Manifest, key: str) -> str | None:
    """A label of an object."""
    value: str | None = (item["metadata"].get("labels") or {}).get(key)
    return value
