"""What breaks and mends: edits of the Embedder, and things that others bring into a cluster."""

import json
from typing import Any

from e2e import foreign
from e2e.cluster.kubectl import Kubectl, Manifest
from e2e.cluster.waiting import until
from e2e.diagnosis.row import Act, Scene
from e2e.workloads import pod

HOLDER = "holder"


def edit(**spec: Any) -> Act:
    """Change fields of the spec; None removes one."""
    return lambda scene: scene.embedder.edit(**scene.filled(spec))


def create(*manifests: Manifest) -> Act:
    """Bring objects into the namespace, or into the cluster."""
    return lambda scene: scene.kubectl.apply(*manifests)


def remove(*words: str) -> Act:
    """Take objects away, if they are there."""

    def act(scene: Scene) -> None:
        scene.kubectl("delete", *words, "--ignore-not-found", "--wait=false")

    return act


def install(*kinds: foreign.Kind) -> Act:
    """Let the cluster have kinds of other projects."""
    return lambda scene: foreign.install(scene.kubectl, *kinds)


def remove_kinds(*kinds: foreign.Kind) -> Act:
    """Let the cluster have them no more."""
    return lambda scene: foreign.remove(scene.kubectl, *kinds)


def both(*acts: Act) -> Act:
    """One after the other."""

    def act(scene: Scene) -> None:
        for one in acts:
            one(scene)

    return act


def advertise(resource: str) -> Act:
    """Let one untainted node have one of these."""

    def act(scene: Scene) -> None:
        node = _plain_node(scene.kubectl)
        _patch_capacity(scene.kubectl, node, {"op": "add", "value": "1"}, resource)

        def allocatable() -> bool:
            status = scene.kubectl.get("node", node)["status"]
            return bool(status["allocatable"].get(resource) == "1")

        until(allocatable, f"{resource} on {node}")

    return act


def withdraw(resource: str) -> Act:
    """Let no node have it any more."""

    def act(scene: Scene) -> None:
        for node in scene.kubectl.get("nodes")["items"]:
            if resource in node["status"]["capacity"]:
                _patch_capacity(scene.kubectl, node["metadata"]["name"], {"op": "remove"}, resource)

    return act


def hold(resource: str) -> Act:
    """Let a pod have one of these before the Embedder comes."""

    def act(scene: Scene) -> None:
        sleep = ["python3", "-c", "import time; time.sleep(3600)"]
        scene.kubectl.apply(pod(HOLDER, scene.operator_image, sleep, limits={resource: "1"}))
        scene.kubectl("wait", f"pod/{HOLDER}", "--for=condition=Ready", "--timeout=90s")

    return act


def release(scene: Scene) -> None:
    """Let go of it."""
    scene.kubectl("delete", "pod", HOLDER, "--now")


def stop_its_node(scene: Scene) -> None:
    """Pull the plug of the node that its pod is on."""
    assert scene.cluster is not None
    scene.cluster.stop_node(scene.embedder.pods()[0]["spec"]["nodeName"])


def start_stopped_nodes(scene: Scene) -> None:
    """Switch every node on again."""
    assert scene.cluster is not None
    for node in scene.cluster.nodes:
        if not node.machine.init():
            scene.cluster.start_node(node.name)


def _plain_node(kubectl: Kubectl) -> str:
    nodes = kubectl.get("nodes")["items"]
    name: str = next(n["metadata"]["name"] for n in nodes if not n["spec"].get("taints"))
    return name


def _patch_capacity(kubectl: Kubectl, node: str, change: dict[str, str], resource: str) -> None:
    path = f"/status/capacity/{resource.replace('/', '~1')}"
    patch = json.dumps([change | {"path": path}])
    kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", patch)
