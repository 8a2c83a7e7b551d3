"""Faults in what was written, and in what the API server said to it."""

from collections.abc import Iterator

from smart_embedder_operator.conditions.finding import Case, Finding
from smart_embedder_operator.conditions.reasons import Reason
from smart_embedder_operator.observed import Refusal
from smart_embedder_operator.profiles import ProfileNotFound
from smart_embedder_operator.spec import InvalidSpec


def check_spec(case: Case) -> Iterator[Finding]:
    """The spec cannot be read, or names a profile that is not there."""
    match case.decision.trouble:
        case InvalidSpec(problems=problems):
            yield Finding(reason=Reason.INVALID_SPEC, fact="; ".join(problems))
        case ProfileNotFound(name=name, known=known):
            fact = f"there is no hardware profile {name!r}, only {', '.join(known)}"
            yield Finding(reason=Reason.PROFILE_NOT_FOUND, fact=fact)


def check_sight(case: Case) -> Iterator[Finding]:
    """What there is may not be looked at."""
    unseen = case.observed.unseen
    if unseen:
        said = next(iter(unseen.values()))
        fact = f"the operator may not list {', '.join(unseen)}, and leaves all as it is: {said}"
        yield Finding(reason=Reason.FORBIDDEN, fact=fact)


def check_promotion(case: Case) -> Iterator[Finding]:
    """`promote` names a track that does not exist."""
    embedder, plan = case.decision.embedder, case.decision.plan
    if embedder is None or plan is None or embedder.spec.rollout.promotion != "Manual":
        return
    known = [track.fingerprint for track in plan.tracks]
    promote = embedder.spec.rollout.promote
    if promote is not None and promote not in known:
        fact = f"spec.rollout.promote names {promote}; the tracks are {', '.join(known)}"
        yield Finding(reason=Reason.PROMOTE_UNKNOWN, fact=fact)


def check_refusals(case: Case) -> Iterator[Finding]:
    """Objects that could not be written."""
    for refusal in case.observed.refusals:
        fact = f"{refusal.kind} {refusal.name} was not accepted: {refusal.message}"
        yield Finding(reason=_refused(refusal), fact=fact)


def _refused(refusal: Refusal) -> Reason:
    if refused := admission_reason(refusal.message):
        return refused
    if refusal.code == 404:
        return Reason.CRD_NOT_INSTALLED
    if refusal.code >= 500 or refusal.code in {0, 408, 429}:
        return Reason.APPLY_FAILED
    return Reason.FORBIDDEN if refusal.code == 403 else Reason.APPLY_REFUSED


# What admission plugins say when they refuse a pod, a claim or a Service.
_ADMISSION = {
    "exceeded quota": Reason.QUOTA_EXCEEDED,
    "violates PodSecurity": Reason.POD_SECURITY_REFUSED,
    "unable to validate against any security context constraint": Reason.POD_SECURITY_REFUSED,
    "RuntimeClass": Reason.RUNTIME_CLASS_MISSING,
    "no PriorityClass with name": Reason.PRIORITY_CLASS_MISSING,
}


def admission_reason(message: str) -> Reason | None:
    """Which admission plugin speaks."""
    return next((reason for words, reason in _ADMISSION.items() if words in message), None)


def check_creation(case: Case) -> Iterator[Finding]:
    """Pods that a Deployment or a Job may not create."""
    for deployment in case.observed.of("Deployment"):
        for condition in (deployment.get("status") or {}).get("conditions") or ():
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                yield _not_created(condition.get("message", ""))
    for job in case.observed.of("Job"):
        if not (job.get("status") or {}).get("active"):
            for event in case.observed.events_about(job):
                if event.get("reason") == "FailedCreate":
                    yield _not_created(event.get("message", ""))


def _not_created(message: str) -> Finding:
    reason = admission_reason(message) or Reason.PODS_REFUSED
    return Finding(reason=reason, fact=f"no pod can be created: {message}")
