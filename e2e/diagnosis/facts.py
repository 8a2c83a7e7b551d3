"""How Kubernetes itself shows a fault, read from the objects of one Embedder."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from e2e.embedder import OURS


@dataclass(frozen=True)
class Seen:
    """What there is of one Embedder at one moment."""

    name: str
    items: tuple[Any, ...]

    def of(self, kind: str) -> Iterator[Any]:
        """Its objects of one kind; nodes are everybody's."""
        for item in self.items:
            metadata = item["metadata"]
            mine = (
                metadata.get("labels", {}).get(OURS) == self.name or metadata["name"] == self.name
            )
            if item["kind"] == kind and (mine or kind == "Node"):
                yield item

    @property
    def pods(self) -> list[Any]:
        """The pods that are to stay."""
        return [pod for pod in self.of("Pod") if "deletionTimestamp" not in pod["metadata"]]

    @property
    def containers(self) -> list[Any]:
        """The states of their containers."""
        return [
            status for pod in self.pods for status in pod["status"].get("containerStatuses", [])
        ]

    def has_event(self, subject: str, reason: str, words: str) -> bool:
        """Whether an event about something of that name tells it."""
        return any(
            item["kind"] == "Event"
            and item["involvedObject"].get("name") == subject
            and item["reason"] == reason
            and words in item.get("message", "")
            for item in self.items
        )

    @property
    def status(self) -> Any:
        """What the operator says."""
        return next((embedder.get("status", {}) for embedder in self.of("Embedder")), {})

    def condition(self, kind: str) -> Any:
        """One condition of the Embedder."""
        return _condition({"status": self.status}, kind)


Fact = Callable[[Seen], bool]


def an_edit(_: Seen) -> bool:
    """It is as it is written: the 30 seconds count from the edit."""
    return True


def waits(*reasons: str) -> Fact:
    """A container waits for one of these reasons."""
    return lambda seen: any(
        status["state"].get("waiting", {}).get("reason") in reasons for status in seen.containers
    )


def ended(words: str) -> Fact:
    """A container that is not up ended with these words, in its reason or in its message."""

    def fact(seen: Seen) -> bool:
        ends = [
            status.get(state, {}).get("terminated", {})
            for status in seen.containers
            if not status["ready"]
            for state in ("state", "lastState")
        ]
        return any(words in f"{end.get('reason')} {end.get('message')}" for end in ends)

    return fact


def finds_no_node(words: str) -> Fact:
    """The scheduler says so of a pod."""
    return lambda seen: any(
        words in _condition(pod, "PodScheduled").get("message", "") for pod in seen.pods
    )


def claim_is_told(reason: str, words: str) -> Fact:
    """A claim is pending and an event says why."""
    return lambda seen: any(
        claim["status"].get("phase") == "Pending"
        and seen.has_event(claim["metadata"]["name"], reason, words)
        for claim in seen.of("PersistentVolumeClaim")
    )


def deployment_says(kind: str, words: str) -> Fact:
    """A condition of a Deployment holds these words."""

    def fact(seen: Seen) -> bool:
        found = [_condition(deployment, kind) for deployment in seen.of("Deployment")]
        return any(words in f"{one.get('reason')} {one.get('message')}" for one in found)

    return fact


def runs_unready(seen: Seen) -> bool:
    """A container is started and its readiness probe fails."""
    return any(
        not status["ready"]
        and status.get("started", False)
        and seen.has_event(pod["metadata"]["name"], "Unhealthy", "Readiness probe failed")
        for pod in seen.pods
        for status in pod["status"].get("containerStatuses", [])
    )


def autoscaler_is_blind(seen: Seen) -> bool:
    """The HorizontalPodAutoscaler cannot read its metric."""
    return any(
        _condition(autoscaler, "ScalingActive").get("status") == "False"
        for autoscaler in seen.of("HorizontalPodAutoscaler")
    )


def node_is_gone(seen: Seen) -> bool:
    """A node with a pod of it does not report."""
    gone = {
        node["metadata"]["name"]
        for node in seen.of("Node")
        if _condition(node, "Ready").get("status") != "True"
    }
    return any(pod["spec"].get("nodeName") in gone for pod in seen.of("Pod"))


def _condition(item: Any, kind: str) -> Any:
    conditions = item.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})
