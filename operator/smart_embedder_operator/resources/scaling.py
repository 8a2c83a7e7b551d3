"""What both autoscalers measure and how they move. Pure."""

from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.resources.context import Context
from smart_embedder_operator.resources.manifest import plain
from smart_embedder_operator.spec import Embedder
from smart_embedder_operator.spec.scaling import Autoscaling
from smart_embedder_operator.tracks import child_name

# One batch running and about half of one waiting keeps a pod busy without a queue to speak of.
DEFAULT_QUEUE_DEPTH = 8

# Up at once, since a GPU pod takes minutes to help; down slowly, since it takes minutes to return.
_SCALE_UP: Manifest = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Percent", "value": 100, "periodSeconds": 30},
        {"type": "Pods", "value": 2, "periodSeconds": 30},
    ],
}
_SCALE_DOWN: Manifest = {
    "stabilizationWindowSeconds": 300,
    "selectPolicy": "Max",
    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}],
}


def metric(scaling: Autoscaling) -> str:
    """The gauge of the pods that counts."""
    if scaling.target_drain_seconds is not None:
        return "smart_embedder_estimated_drain_seconds"
    if scaling.exclude_bulk:
        return "smart_embedder_interactive_queue_depth"
    return "smart_embedder_queue_depth"


def target(scaling: Autoscaling) -> int:
    """Its wanted value for each pod."""
    return scaling.target_drain_seconds or scaling.target_queue_depth or DEFAULT_QUEUE_DEPTH


def behavior(scaling: Autoscaling) -> Manifest:
    """How fast the number moves; a direction that the person wrote replaces ours."""
    asked: Manifest = plain(scaling.behavior) if scaling.behavior else {}
    return {
        "scaleUp": asked.get("scaleUp") or _SCALE_UP,
        "scaleDown": asked.get("scaleDown") or _SCALE_DOWN,
    }


def scale_target(embedder: Embedder, context: Context) -> Manifest:
    """The Deployment that is scaled: the one that serves."""
    name = child_name(embedder.name, context.plan.serving.fingerprint)
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
