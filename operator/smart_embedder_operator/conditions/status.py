"""The complete status of an Embedder: a pure function of what is seen, written only by difference.

A condition keeps its transition time while its status stays; everything else is computed afresh,
so that nothing said can outlive its cause.
"""

from collections.abc import Iterator

from smart_embedder_operator.conditions import containers
from smart_embedder_operator.conditions.diagnosis import diagnose
from smart_embedder_operator.conditions.exposure import condition
from smart_embedder_operator.conditions.finding import Case, Finding
from smart_embedder_operator.conditions.judgement import Said, judge, judge_unseen
from smart_embedder_operator.conditions.progress import (
    counts,
    serving_deployment,
)
from smart_embedder_operator.decision import Decision
from smart_embedder_operator.labels import track_selector
from smart_embedder_operator.observed import Manifest, Observed
from smart_embedder_operator.resources.manifest import present
from smart_embedder_operator.resources.service import endpoint, preview_name
from smart_embedder_operator.spec import Embedder
from smart_embedder_operator.tracks import Track, deployment


def evaluate(decision: Decision, observed: Observed) -> Manifest:
    """The whole status; a field that is absent here is to be removed."""
    case = Case(decision=decision, observed=observed)
    findings = diagnose(case)
    if observed.unseen:
        return _unseen(case, findings)
    live = serving_deployment(case)
    now = counts(live)
    said = list(judge(case, findings, live))
    return present(
        observedGeneration=decision.manifest["metadata"].get("generation", 0),
        conditions=[_timed(one, case) for one in said],
        fingerprint=case.serving,
        vectorFingerprint=_vectors(case, case.serving),
        models=_models(decision.embedder),
        tracks=list(_tracks(case)),
        replicas=now.total,
        readyReplicas=now.ready,
        selector=_selector(case),
        endpoint=_endpoint(decision),
        queueDepth=_queue_depth(case),
        lastFailure=_last_failure(case),
    )


def _unseen(case: Case, findings: tuple[Finding, ...]) -> Manifest:
    """All but the conditions as it was: an autoscaler goes on by the selector and the number."""
    before: Manifest = case.decision.manifest.get("status") or {}
    return before | {
        "observedGeneration": case.decision.manifest["metadata"].get("generation", 0),
        "conditions": [_timed(one, case) for one in judge_unseen(case, findings)],
    }


def _timed(said: Said, case: Case) -> Manifest:
    """With its times: an unchanged status keeps the moment of its last change."""
    metadata = case.decision.manifest["metadata"]
    before = condition(case.decision.manifest, said.type)
    now = case.observed.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    kept = before.get("lastTransitionTime") if before.get("status") == said.status else None
    return {
        "type": said.type,
        "status": said.status,
        "reason": str(said.reason),
        "message": said.message,
        "observedGeneration": metadata.get("generation", 0),
        "lastTransitionTime": kept or now,
    }


def _models(embedder: Embedder | None) -> str | None:
    if embedder is None:
        return None
    return ", ".join(model.name for model in embedder.spec.models.by_role.values())


def _tracks(case: Case) -> Iterator[Manifest]:
    plan = case.decision.plan
    for track in plan.tracks if plan is not None else ():
        yield _track(case, track, alone=plan is not None and len(plan.tracks) == 1)


def _track(case: Case, track: Track, *, alone: bool) -> Manifest:
    now = counts(deployment(case.name, track.fingerprint, case.observed))
    revisions = track.record.revisions if track.record is not None else {}
    return present(
        fingerprint=track.fingerprint,
        role=track.role,
        models=", ".join(model.name for model in track.meaning.models.values()),
        vectorFingerprint=_vectors(case, track.fingerprint),
        revisions=revisions,
        replicas=now.total,
        readyReplicas=now.ready,
        previewService=None if alone else preview_name(case.name, track.fingerprint),
    )


def _vectors(case: Case, track: str | None) -> str | None:
    """The service's own fingerprint, as its pods report it, when they agree."""
    told = {
        report.fingerprint
        for pod in (case.observed.pods(track) if track else ())
        if (report := case.observed.reports.get(pod["metadata"]["name"])) and report.fingerprint
    }
    return told.pop() if len(told) == 1 else None


def _selector(case: Case) -> str | None:
    """For the scale subresource: the pods whose number is meant."""
    if case.serving is None:
        return None
    return ",".join(f"{k}={v}" for k, v in track_selector(case.name, case.serving).items())


def _endpoint(decision: Decision) -> str | None:
    if decision.embedder is None:
        return None
    return endpoint(decision.embedder, decision.platform.cluster_domain)


def _queue_depth(case: Case) -> int | None:
    """Requests waiting and running in all pods that answered."""
    told = [report.queue_depth for report in case.observed.reports.values()]
    depths = [depth for depth in told if depth is not None]
    return sum(depths) if depths else None


def _last_failure(case: Case) -> Manifest | None:
    """The newest bad end of a container, in the service's own words if it left any."""
    ends = [
        (end.get("finishedAt") or "", pod["metadata"]["name"], end)
        for pod in case.pods
        for status in containers.statuses(pod)
        if (end := containers.ended(status)) is not None
    ]
    if not ends:
        return None
    finished, pod_name, end = max(ends, key=lambda one: one[:2])
    told = containers.said(end)
    return present(
        reason=told.reason if told is not None else end.get("reason", "Error"),
        message=told.message if told is not None else end.get("message", "").strip()[-400:],
        pod=pod_name,
        exitCode=end.get("exitCode"),
        time=finished,
    )
