"""The kinds of objects the operator works with, and where the API server keeps each.

`resources` builds manifests by kind and version; this table says which URL that is, and which of
them are watched, observed and pruned.
"""

from smart_embedder_operator import spec
from smart_embedder_operator.kube import Manifest, Resource
from smart_embedder_operator.platform import Capabilities

Key = tuple[str, str]
"""Namespace and name of an Embedder."""

EMBEDDERS = Resource(spec.GROUP, spec.VERSION, spec.PLURAL, spec.KIND)

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
EVENTS = Resource("", "v1", "events", "Event")
AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
JOBS = Resource("batch", "v1", "jobs", "Job")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
PODS = Resource("", "v1", "pods", "Pod")
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
SERVICES = Resource("", "v1", "services", "Service")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
VOLUME_CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")

HTTP_ROUTES = Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")
PROMETHEUS_RULES = Resource("monitoring.coreos.com", "v1", "prometheusrules", "PrometheusRule")
SCALED_OBJECTS = Resource("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject")
SERVICE_MONITORS = Resource("monitoring.coreos.com", "v1", "servicemonitors", "ServiceMonitor")

# One of these may scale a Deployment at a time, so an unwanted one goes before a wanted one comes.
SCALERS = frozenset({AUTOSCALERS.kind, SCALED_OBJECTS.kind})

_ALWAYS = (
    SERVICE_ACCOUNTS,
    CONFIG_MAPS,
    VOLUME_CLAIMS,
    JOBS,
    DEPLOYMENTS,
    SERVICES,
    AUTOSCALERS,
    BUDGETS,
    NETWORK_POLICIES,
)


def built(capabilities: Capabilities) -> tuple[Resource, ...]:
    """The kinds we create, as far as this cluster serves them."""
    optional = {
        SERVICE_MONITORS: capabilities.service_monitor,
        PROMETHEUS_RULES: capabilities.prometheus_rule,
        SCALED_OBJECTS: capabilities.scaled_object,
        HTTP_ROUTES: capabilities.http_route,
    }
    return (*_ALWAYS, *(kind for kind, served in optional.items() if served))


def observed(capabilities: Capabilities) -> tuple[Resource, ...]:
    """The kinds that are looked at: ours, and what other controllers make of them."""
    return (*built(capabilities), REPLICA_SETS, PODS)


def watched(capabilities: Capabilities) -> tuple[Resource, ...]:
    """The kinds whose changes call for a look; a ReplicaSet's show on its Deployment."""
    return (EMBEDDERS, *built(capabilities), PODS, EVENTS)


_BY_KIND = {
    (kind.api_version, kind.kind): kind
    for kind in built(
        Capabilities(
            service_monitor=True, prometheus_rule=True, scaled_object=True, http_route=True
        )
    )
}


def resource_of(manifest: Manifest) -> Resource:
    """Where a manifest that we built belongs."""
    return _BY_KIND[manifest["apiVersion"], manifest["kind"]]
