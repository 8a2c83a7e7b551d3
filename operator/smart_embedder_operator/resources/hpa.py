"""The HorizontalPodAutoscaler on the pods' queue depth. Pure."""

from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.resources import scaling
from smart_embedder_operator.resources.context import Context
from smart_embedder_operator.resources.manifest import build
from smart_embedder_operator.spec import Embedder


def hpa(embedder: Embedder, context: Context) -> Manifest:
    """One autoscaler; its metric is answered by our metrics API or by prometheus-adapter."""
    asked = embedder.spec.autoscaling
    average = {"type": "AverageValue", "averageValue": str(scaling.target(asked))}
    return build(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        embedder,
        name=embedder.name,
        spec={
            "scaleTargetRef": scaling.scale_target(embedder, context),
            "minReplicas": asked.least,
            "maxReplicas": asked.max_replicas,
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {"metric": {"name": scaling.metric(asked)}, "target": average},
                }
            ],
            "behavior": scaling.behavior(asked),
        },
    )
