"""An Embedder of a case: written, edited, waited for, and looked at with its pods."""

import json
from pathlib import Path
from typing import Any

from e2e.cluster.kubectl import Kubectl, Manifest
from e2e.cluster.waiting import until

OURS = "smart-embedder.io/embedder"
TRACK = "smart-embedder.io/track"
SMALL: Manifest = {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}
"""A demo model's pod: four fit on a node of two cores, and none starves while it starts."""


class Embedder:
    """One Embedder in the case's namespace."""

    def __init__(self, kubectl: Kubectl, name: str = "search") -> None:
        """Nothing is written yet."""
        self.name = name
        self.endpoint = f"http://{name}:8000"
        self._kubectl = kubectl

    def create(self, **spec: Any) -> None:
        """Write one with a demo model; `spec` replaces and adds fields."""
        usual = {
            "models": {"embedding": "demo/bge-m3"},
            "hub": {"offline": True},
            "hardware": {"resources": SMALL},
            "env": [{"name": "TORCH_THREADS", "value": "1"}],
        }
        self._kubectl.apply(
            {
                "apiVersion": "smart-embedder.io/v1alpha1",
                "kind": "Embedder",
                "metadata": {"name": self.name},
                "spec": usual | spec,
            }
        )

    def create_from(self, file: Path) -> None:
        """Write the one of a file."""
        self._kubectl("apply", "-f", file)

    def edit(self, **spec: Any) -> None:
        """Change fields of the spec; None removes one."""
        patch = json.dumps({"spec": spec})
        self._kubectl("patch", "embedder", self.name, "--type=merge", "-p", patch)

    def live(self) -> Any:
        """The object as it is."""
        return self._kubectl.get("embedder", self.name)

    def status(self) -> Any:
        """What the operator says of it."""
        return self.live().get("status", {})

    def ready(self, seconds: float = 240) -> None:
        """Wait until it is Ready as it is now written."""
        until(self._is_ready, f"embedder {self.name} to be Ready", seconds=seconds, every=0.5)

    def condition(self, kind: str) -> Any:
        """One condition; empty while there is none."""
        conditions = self.status().get("conditions", [])
        return next((one for one in conditions if one["type"] == kind), {})

    def pods(self, track: str | None = None) -> list[Any]:
        """Its serving pods, or those of one track, the leaving ones among them."""
        labels = f"{OURS}={self.name}" + (f",{TRACK}={track}" if track else "")
        found: list[Any] = self._kubectl.get("pods", "-l", labels)["items"]
        return found

    def metric(self, pod: str, name: str) -> float:
        """The sum of a metric over its labels, read from the pod itself."""
        where = f"/api/v1/namespaces/{self._kubectl.namespace}/pods/{pod}:9090/proxy/metrics"
        lines = [line.rpartition(" ") for line in self._kubectl("get", "--raw", where).splitlines()]
        return sum(float(value) for series, _, value in lines if series.split("{")[0] == name)

    def _is_ready(self) -> bool:
        live = self.live()
        ready: dict[str, Any] = next(
            (one for one in live.get("status", {}).get("conditions", []) if one["type"] == "Ready"),
            {},
        )
        is_current = ready.get("observedGeneration") == live["metadata"]["generation"]
        return bool(is_current and ready["status"] == "True")


def is_ready(pod: Manifest) -> bool:
    """Whether a pod is ready and stays."""
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]
