"""What is kept of a case that failed: every object, event, log and metric of its namespace."""

import re
import shutil
from pathlib import Path

from e2e.cluster.commands import CommandFailed
from e2e.cluster.kubectl import Kubectl

FOLDER = Path(__file__).parent / "failures"


def keep(case: str, kubectl: Kubectl) -> Path:
    """Write the evidence into a folder of the case and return it; an older one is replaced."""
    folder = FOLDER / re.sub(r"[^\w.-]+", "-", case)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kinds = listable(kubectl)
    _write(folder / "objects.yaml", kubectl, "get", kinds, "-o", "yaml")
    _write(folder / "overview.txt", kubectl, "get", kinds, "-o", "wide")
    _write(folder / "events.txt", kubectl, "get", "events", "--sort-by=.lastTimestamp")
    _write(folder / "pods.txt", kubectl, "describe", "pods")
    _write(folder / "nodes.txt", kubectl, "describe", "nodes")
    for pod in kubectl("get", "pods", "-o", "name").split():
        name = pod.removeprefix("pod/")
        _write(folder / f"{name}.log", kubectl, "logs", "--all-containers", name)
        _write(folder / f"{name}.previous.log", kubectl, "logs", "--previous", name)
        metrics = f"/api/v1/namespaces/{kubectl.namespace}/pods/{name}:9090/proxy/metrics"
        _write(folder / f"{name}.metrics", kubectl, "get", "--raw", metrics)
    return folder


def listable(kubectl: Kubectl) -> str:
    """Every kind of object that a namespace can hold, events aside."""
    kinds = kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
    return ",".join(kind for kind in kinds if not kind.startswith("events"))


def _write(file: Path, kubectl: Kubectl, *words: str) -> None:
    try:
        file.write_text(kubectl(*words))
    except CommandFailed as refused:
        file.write_text(f"not to be had: {refused}\n")
