"""CoreDNS as the cluster's DNS: one Deployment behind the address that kubelets give to pods."""

from typing import Any

from e2e.cluster.images import coredns
from e2e.cluster.kubectl import Kubectl, Manifest
from e2e.cluster.layout import Layout

# Names outside the cluster are refused at once: there is no way out to wait for.
_COREFILE = """\
.:5353 {
  errors
  health :8080
  ready :8181
  cache 5
  kubernetes cluster.local in-addr.arpa {
    pods insecure
  }
}
"""
_LABELS = {"k8s-app": "kube-dns"}


def install(kubectl: Kubectl, layout: Layout) -> None:
    """Apply CoreDNS; does not wait for it."""
    kubectl.apply(*_rights(), _settings(), _deployment(), _service(layout))


def _meta(name: str = "coredns") -> dict[str, Any]:
    return {"name": name, "namespace": "kube-system", "labels": _LABELS}


def _rights() -> list[Manifest]:
    rules = [
        {
            "apiGroups": [""],
            "resources": ["services", "pods", "namespaces"],
            "verbs": ["list", "watch"],
        },
        {
            "apiGroups": ["discovery.k8s.io"],
            "resources": ["endpointslices"],
            "verbs": ["list", "watch"],
        },
    ]
    rbac = "rbac.authorization.k8s.io"
    role = {"name": "coredns"}
    subject = {"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta()},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": role, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": role,
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "coredns"},
            "subjects": [subject],
        },
    ]


def _settings() -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _meta(),
        "data": {"Corefile": _COREFILE},
    }


def _deployment() -> Manifest:
    ready = {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1}
    container = {
        "name": "coredns",
        "image": coredns(),
        "args": ["-conf", "/etc/coredns/Corefile"],
        "readinessProbe": ready,
        "volumeMounts": [{"name": "settings", "mountPath": "/etc/coredns"}],
        "resources": {"requests": {"cpu": "20m", "memory": "30Mi"}},
    }
    pod = {
        "serviceAccountName": "coredns",
        "priorityClassName": "system-cluster-critical",
        "containers": [container],
        "volumes": [{"name": "settings", "configMap": {"name": "coredns"}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _meta(),
        "spec": {
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": pod},
        },
    }


def _service(layout: Layout) -> Manifest:
    ports = [
        {"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "targetPort": 5353, "protocol": "TCP"},
    ]
    spec = {"clusterIP": str(layout.dns), "selector": _LABELS, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _meta("kube-dns"), "spec": spec}
