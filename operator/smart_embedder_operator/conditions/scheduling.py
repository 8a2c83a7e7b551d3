"""Faults of placement: pods that find no node, and nodes that are gone."""

from collections.abc import Iterator

from smart_embedder_operator.conditions.finding import Case, Finding, pod_name
from smart_embedder_operator.conditions.reasons import Reason
from smart_embedder_operator.labels import TRACK
from smart_embedder_operator.observed import Manifest, label
from smart_embedder_operator.rollout import node_is_coming, outdated_pods_hold, unschedulable

_GPU_PREFIX = "nvidia.com/"


def check_scheduling(case: Case) -> Iterator[Finding]:
    """Pods that the scheduler cannot place, unless a node is being brought for them."""
    for pod in case.pods:
        verdict = unschedulable(pod)
        if verdict is None or node_is_coming(pod, case.observed):
            continue
        found = _unplaced(case, pod, verdict.get("message", ""))
        if found is not None:
            yield found


def waits_for_node(case: Case) -> bool:
    """Whether a node autoscaler is bringing a node for one of the pods."""
    return any(
        unschedulable(pod) is not None and node_is_coming(pod, case.observed) for pod in case.pods
    )


def _unplaced(case: Case, pod: Manifest, verdict: str) -> Finding | None:
    if "persistentvolumeclaim" in verdict and "not found" in verdict:
        return Finding(reason=Reason.CLAIM_MISSING, fact=f"pod {pod_name(pod)}: {verdict}")
    if "unbound immediate PersistentVolumeClaims" in verdict:
        return Finding(reason=Reason.UNBOUND_VOLUME, fact=f"pod {pod_name(pod)}: {verdict}")
    if "Insufficient" in verdict and _held_by_own(case, pod):
        return _deadlock(case, pod, verdict)
    reason = _shortage(case, pod, verdict)
    return Finding(reason=reason, fact=_shortage_fact(reason, pod, verdict))


def _shortage(case: Case, pod: Manifest, verdict: str) -> Reason:
    gpus = _gpus(pod)
    nodes = case.observed.nodes
    if gpus and nodes is not None and not any(nodes.allocatable.get(name) for name in gpus):
        return Reason.NO_GPU
    if any(f"Insufficient {name}" in verdict for name in gpus):
        return Reason.INSUFFICIENT_GPU
    return Reason.INSUFFICIENT_RESOURCES if "Insufficient" in verdict else Reason.UNSCHEDULABLE


def _shortage_fact(reason: Reason, pod: Manifest, verdict: str) -> str:
    match reason:
        case Reason.NO_GPU:
            return f"no node of this cluster has {' or '.join(_gpus(pod))} ({verdict})"
        case Reason.INSUFFICIENT_GPU:
            wanted = " and ".join(f"{count} {name}" for name, count in _gpus(pod).items())
            return f"pod {pod_name(pod)} needs {wanted} and none is free ({verdict})"
        case _:
            return f"pod {pod_name(pod)} finds no node: {verdict}"


def _gpus(pod: Manifest) -> dict[str, str]:
    return {
        name: str(amount)
        for container in pod["spec"]["containers"]
        for name, amount in ((container.get("resources") or {}).get("limits") or {}).items()
        if name.startswith(_GPU_PREFIX)
    }


def _held_by_own(case: Case, pod: Manifest) -> bool:
    """Whether the Embedder's own older pods hold what this one wants."""
    track = label(pod, TRACK)
    if track is None:
        return False
    other = case.serving is not None and track != case.serving
    serving = case.observed.pods(case.serving) if other and case.serving else ()
    return outdated_pods_hold(pod, case.observed.pods(track)) or any(
        one["spec"].get("nodeName") for one in serving
    )


def _deadlock(case: Case, pod: Manifest, verdict: str) -> Finding | None:
    """Auto and InPlace solve it by themselves within a track; nothing solves it between two."""
    embedder = case.decision.embedder
    alone = embedder is not None and embedder.spec.rollout.strategy in {"Auto", "InPlace"}
    if alone and label(pod, TRACK) == case.serving:
        return None
    fact = f"pod {pod_name(pod)} waits for what this Embedder's own older pods hold ({verdict})"
    return Finding(reason=Reason.ROLLOUT_DEADLOCK, fact=fact)


def check_nodes(case: Case) -> Iterator[Finding]:
    """Pods on nodes that no longer answer, those that are being evicted from them included."""
    lost = case.observed.nodes.lost if case.observed.nodes is not None else frozenset()
    for pod in case.observed.of("Pod"):
        node = pod["spec"].get("nodeName")
        if node in lost or (pod.get("status") or {}).get("reason") == "NodeLost":
            fact = f"node {node} with pod {pod_name(pod)} does not answer"
            yield Finding(reason=Reason.NODE_LOST, fact=fact)
