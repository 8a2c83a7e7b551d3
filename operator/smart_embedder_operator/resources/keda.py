"""The ScaledObject, for clusters that scale by KEDA. Pure."""

from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.resources import scaling
from smart_embedder_operator.resources.context import Context
from smart_embedder_operator.resources.manifest import build
from smart_embedder_operator.spec import Embedder
from smart_embedder_operator.tracks import child_name

_POLLING_SECONDS = 15
# Only for the step from one pod to none: a GPU pod takes minutes to come back.
_COOLDOWN_SECONDS = 900


def scaled_object(embedder: Embedder, context: Context) -> Manifest:
    """One ScaledObject on the sum over the serving track's pods."""
    asked = embedder.spec.autoscaling
    most = asked.max_replicas or 1
    return build(
        "keda.sh/v1alpha1",
        "ScaledObject",
        embedder,
        name=embedder.name,
        spec={
            "scaleTargetRef": scaling.scale_target(embedder, context),
            "minReplicaCount": asked.least,
            "maxReplicaCount": most,
            "pollingInterval": _POLLING_SECONDS,
            "cooldownPeriod": _COOLDOWN_SECONDS,
            # With Prometheus gone, stay where we are rather than shrink under load.
            "fallback": {
                "failureThreshold": 3,
                "replicas": max(asked.least, 1),
                "behavior": "currentReplicasIfHigher",
            },
            "advanced": {
                "restoreToOriginalReplicaCount": False,
                "horizontalPodAutoscalerConfig": {"behavior": scaling.behavior(asked)},
            },
            "triggers": [_trigger(embedder, context)],
        },
    )


def _trigger(embedder: Embedder, context: Context) -> Manifest:
    asked = embedder.spec.autoscaling
    return {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": asked.prometheus_address,
            "query": _query(embedder, context),
            "threshold": str(scaling.target(asked)),
            "activationThreshold": "0",
            # A lost target must be seen as lost, not as idle.
            "ignoreNullValues": "false",
        },
    }


def _query(embedder: Embedder, context: Context) -> str:
    pods = child_name(embedder.name, context.plan.serving.fingerprint)
    gauge = scaling.metric(embedder.spec.autoscaling)
    # With no pod there is no series; the vector keeps the answer 0 instead of lost.
    absent = " or vector(0)" if embedder.spec.autoscaling.least == 0 else ""
    return f'sum({gauge}{{namespace="{embedder.namespace}",pod=~"{pods}-.*"}}){absent}'
