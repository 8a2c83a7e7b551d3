"""All faults of an Embedder, the most telling first, each once."""

from collections.abc import Callable, Iterator

from smart_embedder_operator.conditions.asked import (
    check_creation,
    check_promotion,
    check_refusals,
    check_sight,
    check_spec,
)
from smart_embedder_operator.conditions.containers import check_containers
from smart_embedder_operator.conditions.exposure import (
    check_autoscaler,
    check_monitoring,
    check_route,
    check_vectors,
    condition,
)
from smart_embedder_operator.conditions.finding import Case, Finding
from smart_embedder_operator.conditions.reasons import Reason
from smart_embedder_operator.conditions.scheduling import check_nodes, check_scheduling
from smart_embedder_operator.conditions.volumes import check_claims, check_mounts

# Causes before their effects: an unbound claim also leaves its pod unschedulable.
CHECKS: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    check_spec,
    check_sight,
    check_refusals,
    check_creation,
    check_nodes,
    check_claims,
    check_scheduling,
    check_mounts,
    check_containers,
    check_vectors,
    check_promotion,
    check_route,
    check_autoscaler,
    check_monitoring,
)


def diagnose(case: Case) -> tuple[Finding, ...]:
    """Every fault; one finding for each reason, however many pods show it."""
    found: dict[Reason, Finding] = {}
    for check in CHECKS:
        for finding in check(case):
            found.setdefault(finding.reason, finding)
    if Reason.STORAGE_CLASS_MISSING in found:
        found.pop(Reason.UNBOUND_VOLUME, None)  # the same fault, seen from the pod
    return tuple(found.values()) or tuple(_unexplained(case))


def _unexplained(case: Case) -> Iterator[Finding]:
    """A rollout that stands still for no reason we know."""
    for deployment in case.observed.of("Deployment"):
        progress = condition(deployment, "Progressing")
        if progress.get("reason") == "ProgressDeadlineExceeded":
            fact = f"{progress.get('message', '')} {_facts(case)}"
            yield Finding(reason=Reason.UNKNOWN, fact=fact)


def _facts(case: Case) -> str:
    warnings = [f"{e.get('reason')}: {e.get('message')}" for e in case.observed.events[-3:]]
    phases = [
        f"{pod['metadata']['name']} is {(pod.get('status') or {}).get('phase')}"
        for pod in case.pods
    ]
    return "; ".join([*phases[:3], *warnings]) or "there are no pods and no events"
