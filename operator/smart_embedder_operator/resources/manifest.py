"""The frame that every child shares: kind, name, labels, and whose it is."""

from collections.abc import Mapping
from typing import Any

import msgspec

from smart_embedder_operator.labels import common
from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.spec import API_VERSION, KIND, Embedder


def build(
    api_version: str,
    kind: str,
    embedder: Embedder,
    *,
    name: str,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    owned: bool = True,
    **body: Any,
) -> Manifest:
    """A child manifest. An owned one goes when its Embedder goes, without any finalizer."""
    metadata: Manifest = {
        "name": name,
        "namespace": embedder.namespace,
        "labels": dict(labels or common(embedder.name)),
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    if owned and embedder.uid:
        metadata["ownerReferences"] = [_owner(embedder)]
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def _owner(embedder: Embedder) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": embedder.name,
        "uid": embedder.uid,
        "controller": True,
    }


def present(**fields: Any) -> Manifest:
    """The fields that say something; None and empty ones are left out."""
    return {key: value for key, value in fields.items() if value not in (None, (), [], {}, "")}


def plain(piece: object) -> Any:
    """A piece of the spec as JSON writes it: camelCase, defaults left out, lists for tuples."""
    return msgspec.json.decode(msgspec.json.encode(piece))
