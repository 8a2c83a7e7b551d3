"""What the rows write: parts of a spec, and objects that others own."""

from e2e.cluster.kubectl import Manifest
from e2e.diagnosis.stand_in import CONTAINER
from e2e.embedder import SMALL


def asks_for(resource: str, **hardware: object) -> Manifest:
    """Hardware with one of a device; the models run on the CPU unless it says otherwise."""
    limits = SMALL["limits"] | {resource: "1"}
    return {"device": "cpu", "resources": {**SMALL, "limits": limits}, **hardware}


def template(**container: object) -> Manifest:
    """The pod of the stand-in with another of its container's fields."""
    return {"spec": {"containers": [CONTAINER | container]}}


def storage_class(name: str) -> Manifest:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "kubernetes.io/no-provisioner",
    }


def volume(name: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/tmp", "type": "Directory"},
            "storageClassName": name,
        },
    }


def quota(resource: str, amount: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "gpus"},
        "spec": {"hard": {f"requests.{resource}": amount}},
    }


def secret(name: str, kind: str, **data: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": kind,
        "stringData": data,
    }


def cache(storage_class_name: str) -> Manifest:
    return {"type": "PVC", "size": "1Gi", "storageClassName": storage_class_name}


def route(host: str) -> Manifest:
    return {"parentRefs": [{"name": "gateway"}], "hostnames": [host]}
