"""Volumes: a default StorageClass, and the provisioner that makes a folder for each claim.

Run inside the control machine: python -m e2e.cluster.storage CLUSTER
"""

import selectors
import shutil
import subprocess
import sys
from pathlib import Path

from e2e.cluster.commands import CommandFailed, environment
from e2e.cluster.kubectl import Kubectl, Manifest
from e2e.cluster.layout import Layout

CLASS = "local"
PROVISIONER = "smart-embedder.io/local"
_NODE = "volume.kubernetes.io/selected-node"
_MADE_BY = "pv.kubernetes.io/provisioned-by"
LOOK_AGAIN_SECONDS = 30.0
"""Also without an event: a refused deletion is tried again."""


def install(kubectl: Kubectl) -> None:
    """Make the StorageClass; a volume is made where its first pod is put."""
    kubectl.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": CLASS,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": PROVISIONER,
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    )


def wanted(claims: list[Manifest]) -> list[Manifest]:
    """The claims that wait for a volume of ours and have a node."""
    return [
        claim
        for claim in claims
        if claim["spec"].get("storageClassName") == CLASS
        and not claim["spec"].get("volumeName")
        and _NODE in claim["metadata"].get("annotations", {})
    ]


def released(volumes: list[Manifest]) -> list[Manifest]:
    """Our volumes whose claims are gone."""
    return [
        volume
        for volume in volumes
        if volume["metadata"].get("annotations", {}).get(_MADE_BY) == PROVISIONER
        and volume.get("status", {}).get("phase") == "Released"
    ]


def volume_for(claim: Manifest, folder: Path) -> Manifest:
    """The volume that answers a claim, kept in `folder` on the claim's node."""
    metadata = claim["metadata"]
    node = metadata["annotations"][_NODE]
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pvc-{metadata['uid']}", "annotations": {_MADE_BY: PROVISIONER}},
        "spec": {
            "accessModes": claim["spec"]["accessModes"],
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                **{key: metadata[key] for key in ("namespace", "name", "uid")},
            },
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": CLASS,
        },
    }


def reconcile(kubectl: Kubectl, layout: Layout) -> None:
    """Make what claims wait for, take away what nobody claims."""
    for claim in wanted(kubectl.get("persistentvolumeclaims", "-A")["items"]):
        metadata = claim["metadata"]
        folder = layout.folder / metadata["annotations"][_NODE] / "volumes" / metadata["uid"]
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # pods of any user share the folder, as with a file server
        kubectl.apply(volume_for(claim, folder))
    for volume in released(kubectl.get("persistentvolumes")["items"]):
        kubectl("delete", "persistentvolume", volume["metadata"]["name"], "--wait=false")
        shutil.rmtree(volume["spec"]["local"]["path"], ignore_errors=True)


def main() -> None:
    """Reconcile at each event until ended."""
    layout = Layout(sys.argv[1])
    kubectl = Kubectl(layout.kubeconfig)
    while True:
        try:
            _follow(kubectl, layout)
        except CommandFailed as refused:
            print(refused, file=sys.stderr, flush=True)


def _follow(kubectl: Kubectl, layout: Layout) -> None:
    """Reconcile at each event until a watch ends (the API server ends them after some minutes)."""
    watches = [
        _watch(kubectl, "persistentvolumeclaims", "-A"),
        _watch(kubectl, "persistentvolumes"),
    ]
    try:
        with selectors.DefaultSelector() as events:
            for watch in watches:
                events.register(watch.stdout or sys.stdin, selectors.EVENT_READ)
            while all(watch.poll() is None for watch in watches):
                for key, _ in events.select(LOOK_AGAIN_SECONDS):
                    key.fileobj.read1()  # type: ignore[union-attr]  # a pipe; what it says is read anew
                reconcile(kubectl, layout)
    finally:
        for watch in watches:
            watch.kill()
            watch.wait()


def _watch(kubectl: Kubectl, *what: str) -> subprocess.Popen[bytes]:
    words = [str(word) for word in kubectl.command("get", *what, "--watch", "-o", "name")]
    return subprocess.Popen(words, stdout=subprocess.PIPE, env=environment())


if __name__ == "__main__":
    main()
