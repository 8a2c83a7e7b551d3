"""The conditions of an Embedder: what is so, and the one word and the sentence for it. Pure.

Times and the rest of the status are `status`'s; faults come from `diagnosis`, stages from
`progress`.
"""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from smart_embedder_operator.conditions.exposure import condition
from smart_embedder_operator.conditions.finding import Case, Finding
from smart_embedder_operator.conditions.progress import Counts, Stage, counts, is_stuck, stage
from smart_embedder_operator.conditions.reasons import Reason
from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.rollout import is_complete

Truth = Literal["True", "False", "Unknown"]

_MODEL_REASONS = frozenset(
    {
        Reason.MODEL_NOT_FOUND,
        Reason.MODEL_NOT_CACHED,
        Reason.MODEL_GATED,
        Reason.MODEL_DOWNLOAD_FAILED,
    }
)

# Faults beside the pods: they degrade an Embedder, and are no reason why no pod answers.
_BESIDE_REASONS = frozenset(
    {
        Reason.CRD_NOT_INSTALLED,
        Reason.METRICS_UNAVAILABLE,
        Reason.AUTOSCALER_FAILED,
        Reason.ROUTE_CONFLICT,
        Reason.ROUTE_NOT_ACCEPTED,
        Reason.PROMOTE_UNKNOWN,
    }
)

_SCALING_REASONS = frozenset({Reason.METRICS_UNAVAILABLE, Reason.AUTOSCALER_FAILED})


class Said(Struct, frozen=True, kw_only=True):
    """One condition, before its times."""

    type: str
    status: Truth
    reason: str
    message: str


def judge(case: Case, findings: tuple[Finding, ...], live: Manifest | None) -> Iterator[Said]:
    """Every condition that applies."""
    now, where = counts(live), stage(case)
    yield _ready(case, findings, live, where)
    yield _available(now, live)
    yield Said(
        type="Progressing",
        status="True" if where.moving and not is_stuck(live) else "False",
        reason=where.reason,
        message=where.message,
    )
    yield _degraded(case, findings)
    yield from _model_cached(case, findings)
    yield from _autoscaler(case, findings)
    yield from _monitoring(case, findings)


def judge_unseen(case: Case, findings: tuple[Finding, ...]) -> Iterator[Said]:
    """While what there is may not be seen: that is the fault, and how things are is not known."""
    for kind in ("Ready", "Available", "Progressing"):
        yield Said(type=kind, status="Unknown", **_told(case, findings))
    yield _degraded(case, findings)


def _ready(case: Case, findings: tuple[Finding, ...], live: Manifest | None, where: Stage) -> Said:
    """What shall serve does: its vectors, its revision, answered by at least one pod."""
    now = counts(live)
    if (
        _serves_what_is_wanted(case)
        and live is not None
        and is_complete(live)
        and (now.available or _asleep(live))
    ):
        return Said(type="Ready", status="True", reason="Serving", message=_serving(now))
    if any(finding.reason not in _BESIDE_REASONS for finding in findings):
        return Said(type="Ready", status="False", **_told(case, findings))
    return Said(type="Ready", status="False", reason=where.reason, message=where.message)


def _serves_what_is_wanted(case: Case) -> bool:
    """A track that waits for a person's word is not wanted yet."""
    plan = case.decision.plan
    if plan is None:
        return False
    return plan.serving.fingerprint == plan.target or plan.waiting == "ForPromotion"


def _asleep(live: Manifest) -> bool:
    return bool(live["spec"].get("replicas", 1) == 0)


def _serving(now: Counts) -> str:
    if now.wanted == 0:
        return "scaled to zero"
    return f"{now.available} of {now.wanted} pods serve"


def _available(now: Counts, live: Manifest | None) -> Said:
    if live is not None and _asleep(live):
        return Said(
            type="Available", status="False", reason="ScaledToZero", message="no pod is asked for"
        )
    return Said(
        type="Available",
        status="True" if now.available else "False",
        reason="PodsAnswer" if now.available else "NoPodAnswers",
        message=_serving(now) if now.available else "no pod behind the Service answers",
    )


def _degraded(case: Case, findings: tuple[Finding, ...]) -> Said:
    if findings:
        return Said(type="Degraded", status="True", **_told(case, findings))
    return Said(type="Degraded", status="False", reason="NoFault", message="no fault is seen")


def _told(case: Case, findings: tuple[Finding, ...]) -> dict[str, str]:
    """The first fault gives the reason; the message tells all of them."""
    docs = case.decision.platform.docs
    first, *others = findings
    message = " | ".join(
        [first.message(docs), *(f"{one.reason}: {one.message(docs)}" for one in others)]
    )
    return {"reason": first.reason, "message": message}


def _of(findings: tuple[Finding, ...], reasons: frozenset[Reason]) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if finding.reason in reasons)


def _model_cached(case: Case, findings: tuple[Finding, ...]) -> Iterator[Said]:
    """Only where a Job fills the cache."""
    jobs = case.observed.of("Job")
    if not jobs:
        return
    if all((job.get("status") or {}).get("succeeded") for job in jobs):
        yield Said(
            type="ModelCached", status="True", reason="Prewarmed", message="the models are cached"
        )
    elif mine := _of(findings, _MODEL_REASONS):
        yield Said(type="ModelCached", status="False", **_told(case, mine))
    else:
        message = "a Job is downloading the models"
        yield Said(type="ModelCached", status="False", reason="Downloading", message=message)


def _autoscaler(case: Case, findings: tuple[Finding, ...]) -> Iterator[Said]:
    """Only where we make an autoscaler."""
    embedder = case.decision.embedder
    if embedder is None or not embedder.spec.autoscaling.by_us:
        return
    if mine := _of(findings, _SCALING_REASONS):
        yield Said(type="AutoscalerReady", status="False", **_told(case, mine))
        return
    kinds = ("HorizontalPodAutoscaler", "ScaledObject")
    made = [item for kind in kinds if (item := case.observed.named(kind, case.name))]
    active = [condition(made[0], "ScalingActive"), condition(made[0], "Ready")] if made else []
    if any(one.get("status") == "True" for one in active):
        limited = condition(made[0], "ScalingLimited").get("status") == "True"
        yield Said(
            type="AutoscalerReady",
            status="True",
            reason="AtLimit" if limited else "Scaling",
            message=condition(made[0], "ScalingLimited").get("message") or "it reads its metric",
        )
    else:
        message = "it has not read its metric yet"
        yield Said(type="AutoscalerReady", status="Unknown", reason="Waiting", message=message)


def _monitoring(case: Case, findings: tuple[Finding, ...]) -> Iterator[Said]:
    """Only where something was asked for or could be made."""
    embedder, known = case.decision.embedder, case.decision.platform.capabilities
    if embedder is None:
        return
    wish = embedder.spec.monitoring
    missing = tuple(
        f
        for f in _of(findings, frozenset({Reason.CRD_NOT_INSTALLED}))
        if "spec.monitoring" in f.fact
    )
    if missing:
        yield Said(type="MonitoringReady", status="False", **_told(case, missing))
    elif known.service_monitor and wish.service_monitor != "Disabled":
        message = "a ServiceMonitor points Prometheus at the pods"
        yield Said(type="MonitoringReady", status="True", reason="Scraped", message=message)
