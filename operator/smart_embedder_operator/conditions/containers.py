"""Faults of the containers: their images, what they are given, and how they end.

The service writes the cause of a failed start as `{"reason", "message"}` into its termination
log, which the kubelet shows on the pod: no right to read logs is needed.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from smart_embedder_operator.conditions.finding import Case, Finding, pod_name
from smart_embedder_operator.conditions.reasons import Reason
from smart_embedder_operator.conditions.volumes import MOUNTED, missing_reason
from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.rollout import moment

_IMAGE_TROUBLE = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_START_TROUBLE = frozenset(
    {"CreateContainerError", "RunContainerError", "StartError", "ContainerCannotRun"}
)
_FINE = frozenset({"ContainerCreating", "PodInitializing", "CrashLoopBackOff"})
_KEY_MISSING = re.compile(r"couldn't find key (\S+) in (Secret|ConfigMap) (\S+)")

# The kubelet looks for the pull secrets right before each try: a Secret that it missed then, and
# did not miss at the last try, is there now.
_TRIES = frozenset({"Pulling", "BackOff"})
_SAME_TRY = timedelta(seconds=5)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)

# The service's own word for a failed start, where ours is not the same.
_SERVICE_REASONS = {"StartupFailed": Reason.CRASH_LOOP}


class Told(Struct, frozen=True):
    """What the service left in its termination log."""

    reason: str
    message: str


def statuses(pod: Manifest) -> Iterator[Manifest]:
    """The state of each of the pod's containers."""
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def check_containers(case: Case) -> Iterator[Finding]:
    """Every container that is not running as it should."""
    for pod in case.pods:
        for status in statuses(pod):
            yield from _examine(case, pod, status)


def _examine(case: Case, pod: Manifest, status: Manifest) -> Iterator[Finding]:
    state = status.get("state") or {}
    if "waiting" in state:
        yield from _waiting(case, pod, state["waiting"])
    end = ended(status)
    if end is not None:
        yield _ended(case, pod, end)
    elif "running" in state and status.get("started") and not status.get("ready"):
        yield from _unready(case, pod, state["running"])


def _waiting(case: Case, pod: Manifest, waiting: Manifest) -> Iterator[Finding]:
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    where = f"pod {pod_name(pod)}"
    if reason in _IMAGE_TROUBLE:
        yield from _pull_secrets(case, pod)
        yield Finding(
            reason=Reason.IMAGE_PULL_FAILED,
            fact=f"{where} cannot get its image: {message or reason}",
        )
    elif reason == "CreateContainerConfigError":
        kind = missing_reason(message) or _key_missing(message) or Reason.CONTAINER_START_FAILED
        yield Finding(reason=kind, fact=f"{where} cannot start: {message}")
    elif reason in _START_TROUBLE:
        fact = f"{where} cannot start: {message or reason}"
        yield Finding(reason=Reason.CONTAINER_START_FAILED, fact=fact)
    elif reason == "ContainerCreating":
        yield from _sandbox(case, pod)
    elif reason not in _FINE:
        yield Finding(reason=Reason.UNKNOWN, fact=f"{where} waits: {reason} {message}")


def _pull_secrets(case: Case, pod: Manifest) -> Iterator[Finding]:
    events = tuple(case.observed.events_about(pod))
    tries = [_seen(event) for event in events if event.get("reason") in _TRIES]
    for event in events:
        missing = event.get("reason") == "FailedToRetrieveImagePullSecret"
        if missing and all(_seen(event) >= one - _SAME_TRY for one in tries):
            fact = f"pod {pod_name(pod)}: {event.get('message', '')}"
            yield Finding(reason=Reason.PULL_SECRET_MISSING, fact=fact)


def _seen(event: Manifest) -> datetime:
    return moment(event.get("lastTimestamp") or event.get("eventTime")) or _LONG_AGO


def _sandbox(case: Case, pod: Manifest) -> Iterator[Finding]:
    for event in case.observed.events_since(pod, MOUNTED):
        if event.get("reason") == "FailedCreatePodSandBox":
            message = event.get("message", "")
            runtime = "no runtime for" in message or "RuntimeHandler" in message
            reason = Reason.RUNTIME_CLASS_MISSING if runtime else Reason.CONTAINER_START_FAILED
            yield Finding(reason=reason, fact=f"pod {pod_name(pod)} gets no sandbox: {message}")


def _key_missing(message: str) -> Reason | None:
    found = _KEY_MISSING.search(message)
    if found is None:
        return None
    return Reason.SECRET_MISSING if found[2] == "Secret" else Reason.CONFIG_MAP_MISSING


def ended(status: Manifest) -> Manifest | None:
    """How a container that is not up ended last; a ready one is past it."""
    if status.get("ready"):
        return None
    for state in (status.get("state") or {}, status.get("lastState") or {}):
        end: Manifest | None = state.get("terminated")
        if end is not None and end.get("exitCode") != 0:
            return end
    return None


def _ended(case: Case, pod: Manifest, end: Manifest) -> Finding:
    told = said(end)
    where = f"pod {pod_name(pod)}"
    if end.get("reason") == "OOMKilled":
        fact = f"{where} used more memory than its limit{_limit(pod)} and was killed"
        return Finding(reason=Reason.OOM_KILLED, fact=fact)
    if told is not None:
        return Finding(reason=_known(case, told.reason), fact=f"{where}: {told.message}")
    if _was_too_slow(case, pod, end):
        fact = f"{where} was not started after {_start_limit(pod)} seconds and was restarted"
        return Finding(reason=Reason.STARTUP_TIMEOUT, fact=fact)
    fact = f"{where} ended with exit code {end.get('exitCode')}: {_last_line(end)}"
    return Finding(reason=Reason.CRASH_LOOP, fact=fact)


def said(end: Manifest) -> Told | None:
    """The service's own account of its end, on the last line of its termination message."""
    try:
        return msgspec.json.decode(_last_line(end), type=Told)
    except msgspec.MsgspecError:
        return None


def _known(case: Case, word: str) -> Reason:
    embedder = case.decision.embedder
    offline = embedder is not None and embedder.spec.hub.offline
    if word == Reason.MODEL_NOT_FOUND and offline:
        return Reason.MODEL_NOT_CACHED
    if word in _SERVICE_REASONS:
        return _SERVICE_REASONS[word]
    return Reason(word) if word in set(Reason) else Reason.CRASH_LOOP


def _last_line(end: Manifest) -> str:
    message: str = end.get("message") or end.get("reason") or "it left no message"
    return message.strip().splitlines()[-1]


def _limit(pod: Manifest) -> str:
    resources = pod["spec"]["containers"][0].get("resources") or {}
    limits: dict[str, Any] = resources.get("limits") or {}
    return f" of {limits['memory']}" if "memory" in limits else ""


def _was_too_slow(case: Case, pod: Manifest, end: Manifest) -> bool:
    """SIGTERM and SIGKILL by the kubelet, after its startup probe had failed to the end."""
    killed = end.get("exitCode") in {137, 143}
    return killed and any(
        event.get("message", "").startswith("Startup probe failed")
        for event in case.observed.events_about(pod)
    )


def _start_limit(pod: Manifest) -> int:
    probe = pod["spec"]["containers"][0].get("startupProbe") or {}
    seconds: int = probe.get("failureThreshold", 3) * probe.get("periodSeconds", 10)
    return seconds


def _unready(case: Case, pod: Manifest, running: Manifest) -> Iterator[Finding]:
    """Started, and its readiness probe has failed since."""
    for event in case.observed.events_about(pod):
        failed = event.get("message", "").startswith("Readiness probe failed")
        if failed and _since(event, running):
            fact = f"pod {pod_name(pod)} runs but is not ready: {event['message']}"
            yield Finding(reason=Reason.READINESS_FAILING, fact=fact)


def _since(event: Manifest, running: Manifest) -> bool:
    start = moment(running.get("startedAt"))
    return start is None or _seen(event) >= start
