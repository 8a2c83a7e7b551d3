"""Manifests that the cases run: the service behind a Service, and small pods that do one thing."""

from collections.abc import Sequence
from typing import Any

from e2e.cluster.kubectl import Manifest
from e2e.questions import RESTRICTED

PORT = 8000
GPU_TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
PROGRAM = "e2e"
"""The label that every pod of a case carries, with its name."""


def restricted_namespace(name: str) -> Manifest:
    """A namespace that admits only pods of the `restricted` Pod Security Standard."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels},
    }


def pod(
    name: str, image: str, command: Sequence[str], *, memory: str = "256Mi", **spec: Any
) -> Manifest:
    """A pod of one restricted container that runs `command`."""
    container = {
        "name": name,
        "image": image,
        "command": list(command),
        "securityContext": RESTRICTED,
        "resources": {"limits": {"memory": memory, **spec.pop("limits", {})}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {PROGRAM: name}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1, **spec},
    }


def python(name: str, image: str, code: str, *arguments: str, **spec: Any) -> Manifest:
    """A pod that runs a piece of Python once."""
    return pod(name, image, ["python3", "-c", code, *arguments], restartPolicy="Never", **spec)


def gpu_pod(name: str, image: str, gpus: int) -> Manifest:
    """A pod that holds GPUs and does nothing with them."""
    limits = {"nvidia.com/gpu": str(gpus)}
    wait = ["python3", "-c", "import time; time.sleep(3600)"]
    return pod(name, image, wait, limits=limits, tolerations=[GPU_TOLERATION])


def web_server(name: str, image: str, replicas: int = 1, **spec: Any) -> list[Manifest]:
    """Python's own file server, behind a Service: something small that answers HTTP."""
    command = ["python3", "-m", "http.server", str(PORT), "--directory", "/etc"]
    container = {
        "name": "web",
        "image": image,
        "command": command,
        "securityContext": RESTRICTED,
        "readinessProbe": {"httpGet": {"path": "/hostname", "port": PORT}, "periodSeconds": 1},
    }
    template = {"containers": [container], "terminationGracePeriodSeconds": 1, **spec}
    return [_deployment(name, replicas, template), _service(name)]


def embedding_server(name: str, image: str, replicas: int = 1, **spec: Any) -> list[Manifest]:
    """The service with its demo models, run as the operator would run it, behind a Service."""
    settings = {
        "EMBEDDING_MODEL": "demo/bge-m3",
        "RERANKER_MODEL": "demo/bge-reranker-v2-m3",
        "DRAIN_DELAY": "5",
        "TORCH_THREADS": "1",
    }
    container = {
        "name": "service",
        "image": image,
        "env": [{"name": key, "value": value} for key, value in settings.items()],
        "securityContext": RESTRICTED,
        "startupProbe": _probe("/health/startup", failureThreshold=120),
        "readinessProbe": _probe("/health/ready"),
        "livenessProbe": _probe("/health/live"),
        "resources": {"limits": {"memory": "2Gi"}},
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/tmp"},
            {"name": "models", "mountPath": "/models"},
        ],
    }
    template = {
        "containers": [container],
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 40,  # delay 5 + budget 30 + 5
        "volumes": [{"name": "scratch", "emptyDir": {}}, {"name": "models", "emptyDir": {}}],
        # Beside one another where possible: the image is large and each node fetches it.
        "affinity": {"podAffinity": _near(name)},
        **spec,
    }
    return [_deployment(name, replicas, template), _service(name)]


def away_from(name: str) -> Manifest:
    """An affinity that puts a pod on another node than the pods of `name`."""
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [_beside(name)]}}


def _near(name: str) -> Manifest:
    term = {"weight": 100, "podAffinityTerm": _beside(name)}
    return {"preferredDuringSchedulingIgnoredDuringExecution": [term]}


def _beside(name: str) -> Manifest:
    labels = {"matchLabels": {PROGRAM: name}}
    return {"topologyKey": "kubernetes.io/hostname", "labelSelector": labels}


def _probe(path: str, **more: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": PORT},
        "periodSeconds": 1,
        "timeoutSeconds": 3,
        **more,
    }


def _deployment(name: str, replicas: int, spec: Manifest) -> Manifest:
    labels = {PROGRAM: name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def _service(name: str) -> Manifest:
    spec = {"selector": {PROGRAM: name}, "ports": [{"port": PORT}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
