"""What other projects bring to a cluster, as far as the operator minds whether it is there."""

import json

from e2e.cluster.kubectl import Kubectl, Manifest
from e2e.cluster.trouble import Trouble

HTTP_ROUTE = ("gateway.networking.k8s.io", "v1", "HTTPRoute")
SERVICE_MONITOR = ("monitoring.coreos.com", "v1", "ServiceMonitor")
PROMETHEUS_RULE = ("monitoring.coreos.com", "v1", "PrometheusRule")
SCALED_OBJECT = ("keda.sh", "v1alpha1", "ScaledObject")

CUSTOM_METRICS = "custom.metrics.k8s.io"

Kind = tuple[str, str, str]
OURS = "smart-embedder.io/e2e"


class NotOurs(Trouble):
    """The cluster really has the kind; a case that wants it absent cannot run there."""


def metrics_adapter() -> Manifest:
    """Another provider's registration of custom metrics."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"v1beta1.{CUSTOM_METRICS}"},
        "spec": {
            "group": CUSTOM_METRICS,
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": "monitoring", "name": "adapter"},
        },
    }


def install(kubectl: Kubectl, *kinds: Kind) -> None:
    """Let the API server serve the kinds, whatever is written in them."""
    for kind in kinds:
        if kubectl.find("crd", _name(kind)) is None:
            kubectl.define(json.dumps(_definition(kind)))


def remove(kubectl: Kubectl, *kinds: Kind) -> None:
    """Let it serve them no more; a kind that we did not install is not ours to remove."""
    for kind in kinds:
        found = kubectl.find("crd", _name(kind))
        if found is None:
            continue
        if OURS not in found["metadata"].get("labels", {}):
            raise NotOurs(f"this cluster has {kind[2]}s of its own")
        kubectl("delete", "crd", _name(kind), "--timeout=60s")


def _name(kind: Kind) -> str:
    return f"{kind[2].lower()}s.{kind[0]}"


def _definition(kind: Kind) -> Manifest:
    group, version, word = kind
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {"kind": word, "plural": f"{word.lower()}s", "singular": word.lower()}
    served = {
        "name": version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": anything},
        "subresources": {"status": {}},
    }
    annotation = "api-approved.kubernetes.io"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": _name(kind),
            "labels": {OURS: "true"},
            "annotations": {annotation: "unapproved, a stand-in of the cases"},
        },
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [served]},
    }
