"""How far an Embedder is: what serves, what is on its way. Faults are no business of this file."""

from msgspec import Struct

from smart_embedder_operator.conditions.exposure import condition
from smart_embedder_operator.conditions.finding import Case
from smart_embedder_operator.conditions.scheduling import waits_for_node
from smart_embedder_operator.labels import ROLLOUT
from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.rollout import is_complete
from smart_embedder_operator.tracks import deployment


class Stage(Struct, frozen=True, kw_only=True):
    """Where it stands."""

    reason: str
    message: str
    moving: bool
    """Whether it is on its way; a stage that waits for a person is."""


class Counts(Struct, frozen=True, kw_only=True):
    """Pods of one track."""

    wanted: int = 0
    total: int = 0
    ready: int = 0
    available: int = 0
    updated: int = 0


def counts(live: Manifest | None) -> Counts:
    """The pods of a Deployment; none without it."""
    if live is None:
        return Counts()
    status = live.get("status") or {}
    return Counts(
        wanted=live["spec"].get("replicas", 1),
        total=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
        available=status.get("availableReplicas", 0),
        updated=status.get("updatedReplicas", 0),
    )


def serving_deployment(case: Case) -> Manifest | None:
    """The Deployment behind the Service."""
    return deployment(case.name, case.serving, case.observed) if case.serving else None


def stage(case: Case) -> Stage:
    """The one sentence about where it stands."""
    embedder, plan = case.decision.embedder, case.decision.plan
    if embedder is None or plan is None:
        return Stage(reason="Halted", message="the spec cannot be followed", moving=False)
    if embedder.spec.paused:
        return Stage(
            reason="Paused",
            message="spec.paused is true: nothing is changed until it is false again",
            moving=False,
        )
    return _migration(case) or _rollout(case, serving_deployment(case))


def _migration(case: Case) -> Stage | None:
    plan = case.decision.plan
    upcoming = plan.next if plan is not None else None
    if plan is None or upcoming is None:
        return None
    live = counts(deployment(case.name, upcoming.fingerprint, case.observed))
    change = f"vectors migrate from track {plan.serving.fingerprint} to {upcoming.fingerprint}"
    if plan.waiting == "ForPromotion" and live.wanted and live.available >= live.wanted:
        ask = f"to let it serve, set spec.rollout.promote to {upcoming.fingerprint}"
        return Stage(
            reason="WaitingForPromotion", message=f"{change}, which is ready: {ask}", moving=True
        )
    ready = f"{live.available} of {live.wanted} new pods ready"
    return Stage(reason="Migrating", message=f"{change}: {ready}", moving=True)


def _rollout(case: Case, live: Manifest | None) -> Stage:
    now = counts(live)
    if live is None and case.observed.of("Job"):
        message = "a Job downloads the models; the pods come when it is done"
        return Stage(reason="Downloading", message=message, moving=True)
    if live is None or (now.wanted > 0 and now.total == 0):
        return Stage(reason="Starting", message="the first pods are being made", moving=True)
    if waits_for_node(case):
        message = "a node autoscaler is bringing a node for a pod that has no room yet"
        return Stage(reason="WaitingForNode", message=message, moving=True)
    if not is_complete(live):
        return _exchange(live, now)
    if now.available < now.wanted:
        message = f"{now.available} of {now.wanted} pods ready"
        return Stage(reason="Starting", message=message, moving=True)
    return Stage(reason="Settled", message=f"{now.available} pods serve", moving=False)


def _exchange(live: Manifest, now: Counts) -> Stage:
    ready = f"{now.updated} of {now.wanted} pods are new, {now.available} ready"
    how = (live["metadata"].get("annotations") or {}).get(ROLLOUT)
    if how == "InPlace":
        why = "one pod stops before the next starts, because there is no room for both"
        return Stage(reason="RollingInPlace", message=f"{ready}; {why}", moving=True)
    return Stage(reason="RollingOut", message=ready, moving=True)


def is_stuck(live: Manifest | None) -> bool:
    """Whether Kubernetes itself has given the rollout up."""
    return live is not None and (
        condition(live, "Progressing").get("reason") == "ProgressDeadlineExceeded"
    )
