"""How the pods of one Deployment are exchanged, decided from what is seen. Pure.

On a full GPU pool a surging rollout waits for ever: the new pod wants the GPU that the old one
holds. Auto notices and stops one pod first, until that rollout is over.
"""

from datetime import datetime, timedelta
from typing import Literal

from smart_embedder_operator.labels import ROLLOUT
from smart_embedder_operator.observed import Manifest, Observed
from smart_embedder_operator.spec import Embedder
from smart_embedder_operator.tracks import deployment

Exchange = Literal["Surge", "InPlace", "Recreate"]

REVISION_HASH = "pod-template-hash"

# Longer than the scheduler's own retries after a pod elsewhere has gone; a person still sees the
# rollout move within half a minute.
PATIENCE = timedelta(seconds=15)


def exchange(embedder: Embedder, track: str, observed: Observed) -> Exchange:
    """The strategy for now."""
    asked = embedder.spec.rollout.strategy
    if asked != "Auto":
        return asked
    if embedder.spec.cache_is_exclusive:
        return "InPlace"  # two pods on two nodes cannot both mount it
    live = deployment(embedder.name, track, observed)
    if live is None:
        return "Surge"
    if _settled_in_place(live) and not is_complete(live):
        return "InPlace"
    return "InPlace" if is_deadlocked(track, observed) else "Surge"


def is_deadlocked(track: str, observed: Observed) -> bool:
    """Whether a new pod finds no room while an older one of the track holds it."""
    pods = observed.pods(track)
    return any(_waits_for_room(pod, observed) and outdated_pods_hold(pod, pods) for pod in pods)


def outdated_pods_hold(waiting: Manifest, pods: tuple[Manifest, ...]) -> bool:
    """Whether pods of another revision, not on their way out, sit on nodes."""
    return any(
        pod["spec"].get("nodeName")
        and not pod["metadata"].get("deletionTimestamp")
        and _revision(pod) != _revision(waiting)
        for pod in pods
    )


def is_complete(deployment: Manifest) -> bool:
    """Whether every pod is of the newest revision and nothing older is left."""
    status = deployment.get("status") or {}
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    return bool(seen and updated == total >= deployment["spec"].get("replicas", 1))


def _settled_in_place(deployment: Manifest) -> bool:
    return (deployment["metadata"].get("annotations") or {}).get(ROLLOUT) == "InPlace"


def _waits_for_room(pod: Manifest, observed: Observed) -> bool:
    verdict = unschedulable(pod)
    if verdict is None or pod["metadata"].get("deletionTimestamp"):
        return False
    if "Insufficient" not in verdict.get("message", "") or node_is_coming(pod, observed):
        return False
    since = moment(verdict.get("lastTransitionTime"))
    return since is not None and observed.now - since >= PATIENCE


def unschedulable(pod: Manifest) -> Manifest | None:
    """The scheduler's verdict on a pod it could not place."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            verdict: Manifest = condition
            return verdict
    return None


def node_is_coming(pod: Manifest, observed: Observed) -> bool:
    """Whether a node autoscaler (cluster-autoscaler, Karpenter) said it is bringing one."""
    reasons = {event.get("reason") for event in observed.events_about(pod)}
    return bool(reasons & {"TriggeredScaleUp", "Nominated"}) and "NotTriggerScaleUp" not in reasons


def moment(text: str | None) -> datetime | None:
    """A time of Kubernetes."""
    return datetime.fromisoformat(text) if text else None


def _revision(pod: Manifest) -> str | None:
    value: str | None = (pod["metadata"].get("labels") or {}).get(REVISION_HASH)
    return value
