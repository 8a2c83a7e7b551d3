"""Prints what an Embedder would become, and the CRD, without a cluster. Pure, text to text."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import yaml
from msgspec.structs import replace

from smart_embedder_operator import schema
from smart_embedder_operator.decision import Decision, decide
from smart_embedder_operator.observed import Manifest, Observed
from smart_embedder_operator.platform import Platform

CRD_HEADER = "# Written by `smart-embedder-operator crd` from the operator's spec; not by hand.\n"


class NotRendered(ValueError):
    """The manifest is not an Embedder that could become anything."""


def render(text: str, platform: Platform) -> str:
    """Every object of every Embedder in a YAML text, as a YAML stream."""
    found = [one for one in yaml.safe_load_all(text) if _is_embedder(one)]
    if not found:
        raise NotRendered("there is no Embedder in this file")
    return yaml.safe_dump_all(
        (item for manifest in found for item in _objects(manifest, platform)),
        sort_keys=False,
        width=100,
    )


def _is_embedder(document: object) -> bool:
    return isinstance(document, dict) and document.get("kind") == "Embedder"


def _objects(manifest: Manifest, platform: Platform) -> Iterator[Manifest]:
    decision = _decide(manifest, platform)
    if decision.trouble is not None:
        raise NotRendered(f"{_name(manifest)}: {decision.trouble}")
    if decision.objects is None:
        raise NotRendered(f"{_name(manifest)} is paused: nothing would be applied")
    for item in decision.objects:
        yield _with_replicas(item, decision.replicas)


def _decide(manifest: Manifest, platform: Platform) -> Decision:
    """As on an empty cluster, but past the download: the Deployment that waits for it is shown."""
    empty = Observed(now=datetime.now(UTC))
    first = decide(manifest, platform, empty)
    done = {"status": {"succeeded": 1}}
    jobs = tuple(item | done for item in first.objects or () if item["kind"] == "Job")
    return decide(manifest, platform, replace(empty, objects=jobs)) if jobs else first


def _with_replicas(item: Manifest, replicas: dict[str, int]) -> Manifest:
    """The number of pods goes to the API server apart; a reader wants it in its place."""
    number = replicas.get(item["metadata"]["name"]) if item["kind"] == "Deployment" else None
    return item if number is None else item | {"spec": {"replicas": number, **item["spec"]}}


def _name(manifest: Manifest) -> Any:
    return (manifest.get("metadata") or {}).get("name", "the Embedder")


def crd() -> str:
    """The CustomResourceDefinition as YAML."""
    return CRD_HEADER + yaml.safe_dump(schema.crd(), sort_keys=False, width=100)
