"""The PodDisruptionBudget: one pod at a time, and never one that blocks a drain. Pure."""

from smart_embedder_operator.labels import selector
from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.resources.context import Context
from smart_embedder_operator.resources.manifest import build
from smart_embedder_operator.resources.replicas import live_replicas
from smart_embedder_operator.spec import Embedder


def pdb(embedder: Embedder) -> Manifest:
    """`maxUnavailable` lets the last pod go too; broken pods are never protected."""
    return build(
        "policy/v1",
        "PodDisruptionBudget",
        embedder,
        name=embedder.name,
        spec={
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(embedder.name)},
        },
    )


def wants_pdb(embedder: Embedder, context: Context) -> bool:
    """Auto: where there can be two pods, by the spec or as seen."""
    match embedder.spec.availability.pdb:
        case "Enabled":
            return True
        case "Disabled":
            return False
        case "Auto":
            live = live_replicas(embedder.name, context.plan.serving.fingerprint, context.observed)
            return max(embedder.spec.replicas or 0, _most(embedder), live or 0) > 1


def _most(embedder: Embedder) -> int:
    scaling = embedder.spec.autoscaling
    return (scaling.max_replicas or 0) if scaling.by_us else 0
