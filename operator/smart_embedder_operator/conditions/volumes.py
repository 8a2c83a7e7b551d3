"""Faults of the volumes: claims that are not bound, mounts that do not come."""

import re
from collections.abc import Iterable, Iterator

from smart_embedder_operator.conditions.finding import Case, Finding, pod_name
from smart_embedder_operator.conditions.reasons import Reason
from smart_embedder_operator.observed import Manifest

_STORAGE_CLASS = re.compile(r'storageclass\S* "([^"]+)" not found')
_MISSING = re.compile(r'(secret|configmap) "([^"]+)" not found', re.IGNORECASE)
_COMPLAINTS = frozenset({"ProvisioningFailed", "FailedBinding"})
# What says that the class is there now, and that the volumes are mounted.
_CLASS_FOUND = frozenset({"WaitForFirstConsumer", "ExternalProvisioning", "Provisioning"})
MOUNTED = frozenset({"Pulling", "Pulled", "Created"})
_MISSING_KEY = re.compile(r"references non-existent (secret|config) key: (\S+)")


def check_claims(case: Case) -> Iterator[Finding]:
    """Claims that are pending for another reason than that no pod has used them yet."""
    for claim in case.observed.of("PersistentVolumeClaim"):
        phase = (claim.get("status") or {}).get("phase")
        if phase in {"Pending", "Lost"}:
            yield from _unbound(case, claim, phase)


def _unbound(case: Case, claim: Manifest, phase: str) -> Iterator[Finding]:
    name = claim["metadata"]["name"]
    last = _warning(case.observed.events_about(claim))
    if missing := _STORAGE_CLASS.search(last):
        if not _warning(case.observed.events_since(claim, _CLASS_FOUND)):
            return
        fact = f"volume claim {name} asks for StorageClass {missing[1]!r}, which does not exist"
        yield Finding(reason=Reason.STORAGE_CLASS_MISSING, fact=fact)
    elif last or phase == "Lost":
        fact = f"volume claim {name} is {phase.lower()}: {last or 'its volume is gone'}"
        yield Finding(reason=Reason.UNBOUND_VOLUME, fact=fact)


def _warning(events: Iterable[Manifest]) -> str:
    """The last complaint about a claim."""
    found = [event for event in events if event.get("reason") in _COMPLAINTS]
    return found[-1].get("message", "") if found else ""


def check_mounts(case: Case) -> Iterator[Finding]:
    """Pods that wait for a volume on their node."""
    for pod in case.pods:
        if _is_creating(pod):
            for event in case.observed.events_since(pod, MOUNTED):
                if event.get("reason") in {"FailedMount", "FailedAttachVolume"}:
                    yield _unmounted(pod, event.get("message", ""))


def _is_creating(pod: Manifest) -> bool:
    status = pod.get("status") or {}
    waiting = [
        (container.get("state") or {}).get("waiting") or {}
        for container in status.get("containerStatuses") or ()
    ]
    return any(state.get("reason") == "ContainerCreating" for state in waiting)


def _unmounted(pod: Manifest, message: str) -> Finding:
    fact = f"pod {pod_name(pod)} cannot mount a volume: {message}"
    return Finding(reason=missing_reason(message) or Reason.MOUNT_FAILED, fact=fact)


def missing_reason(message: str) -> Reason | None:
    """Whether the kubelet misses a Secret or a ConfigMap, or a key of one."""
    found = _MISSING.search(message) or _MISSING_KEY.search(message)
    if found is None:
        return None
    secret = found[1].lower() == "secret"
    return Reason.SECRET_MISSING if secret else Reason.CONFIG_MAP_MISSING
