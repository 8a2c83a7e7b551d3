"""An upgrade of the CRD: what was stored under an earlier schema stays valid, whole and running.

`released` keeps the schemas that people have: each release adds its `smart-embedder-operator crd`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.commands import CommandFailed
from e2e.cluster.kubectl import Kubectl, Manifest
from e2e.cluster.waiting import until
from e2e.diagnosis.stand_in import STAND_IN
from e2e.embedder import OURS, Embedder
from e2e.loopback import ApiServer, api_server
from smart_embedder_operator.render import crd

ROOT = Path(__file__).parents[1]
SCHEMAS = sorted((ROOT / "e2e/released").glob("*.yaml"))
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
FRAGMENTS = yaml.safe_load((ROOT / "tests/controller/decisions/specs.yaml").read_text())[
    "fragments"
]
CRD = "embedders.smart-embedder.io"
SERVED = "/openapi/v3/apis/smart-embedder.io/v1alpha1"
STATUS = {
    "observedGeneration": 1,
    "fingerprint": "bcdfghjk",
    "replicas": 2,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Serving",
            "message": "2 of 2 pods serve",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-11-21T00:00:00Z",
        }
    ],
}


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with api_server() as server:
        yield server


def bring(kubectl: Kubectl, schema: str) -> None:
    """Put a schema in place and wait until the API server goes by it."""
    before = served(kubectl)
    live = kubectl.find("crd", CRD)
    kubectl.define(schema)
    if live is None or live["spec"] != kubectl.get("crd", CRD)["spec"]:
        until(lambda: served(kubectl) not in {"", before}, "the schema to be served", seconds=60)


def served(kubectl: Kubectl) -> str:
    """What the API server tells of the kind; nothing while it has none."""
    try:
        return kubectl("get", "--raw", SERVED)
    except CommandFailed:
        return ""


def written() -> Iterator[Manifest]:
    """What people write: the examples, and every fragment of the specs by itself."""
    for number, spec in enumerate(spec for file in EXAMPLES for spec in _specs(file)):
        yield _embedder(f"example-{number}", spec)
    for number, fragment in enumerate(FRAGMENTS):
        yield _embedder(f"fragment-{number}", {"models": {"embedding": "BAAI/bge-m3"}} | fragment)


def _specs(file: Path) -> Iterator[Manifest]:
    for document in yaml.safe_load_all(file.read_text()):
        if document["kind"] == "Embedder":
            yield document["spec"]


def _embedder(name: str, spec: Manifest) -> Manifest:
    return {
        "apiVersion": "smart-embedder.io/v1alpha1",
        "kind": "Embedder",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def store(kubectl: Kubectl) -> int:
    """Write all that this schema takes, each with a status; how many those are."""
    stored = 0
    for manifest in written():
        try:
            kubectl("create", "--validate=strict", "-f", "-", stdin=json.dumps(manifest))
        except CommandFailed:
            continue  # a fragment that is wrong by itself, or newer than the schema
        patch = json.dumps({"status": STATUS})
        name = manifest["metadata"]["name"]
        kubectl("patch", "embedder", name, "--subresource=status", "--type=merge", "-p", patch)
        stored += 1
    return stored


def contents(kubectl: Kubectl) -> dict[str, Any]:
    """What the Embedders say, without what the API server notes about them."""
    return {
        item["metadata"]["name"]: (item["spec"], item["status"], item["metadata"]["generation"])
        for item in kubectl.get("embedders")["items"]
    }


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)
def test_what_was_stored_under_an_earlier_schema_stays_as_it_is(
    server: ApiServer, schema: Path
) -> None:
    kubectl = server.kubectl.inside("default")
    bring(kubectl, schema.read_text())
    assert store(kubectl) > len(FRAGMENTS) / 2
    before = contents(kubectl)

    bring(kubectl, crd())

    assert contents(kubectl) == before
    everything = kubectl.get("embedders")
    kubectl("annotate", "embedders", "--all", "seen-by=today")
    for item in everything["items"]:
        del item["metadata"]["resourceVersion"]
        kubectl("replace", "--validate=strict", "-f", "-", stdin=json.dumps(item))
    assert contents(kubectl) == before
    kubectl("delete", "embedders", "--all")


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)
def test_a_running_embedder_does_not_restart(
    kubectl: Kubectl, operator: Kubectl, operator_image: str, schema: Path
) -> None:
    embedder = Embedder(kubectl)
    bring(operator, schema.read_text())
    try:
        embedder.create(**STAND_IN | {"image": {"reference": operator_image}})
        embedder.ready()
        before = running(kubectl, embedder)
    finally:
        bring(operator, crd())

    # An edit that reaches no pod shows that the operator has looked under today's schema.
    embedder.edit(networkPolicy={"enabled": False})
    kubectl("wait", f"networkpolicy/{embedder.name}", "--for=delete", "--timeout=30s")
    embedder.ready()
    assert running(kubectl, embedder) == before


def running(kubectl: Kubectl, embedder: Embedder) -> object:
    """Which pods run, how often they started, and how often the Deployment was changed."""
    pods = {
        pod["metadata"]["uid"]: [s["restartCount"] for s in pod["status"]["containerStatuses"]]
        for pod in embedder.pods()
    }
    [deployment] = kubectl.get("deployments", "-l", f"{OURS}={embedder.name}")["items"]
    return pods, deployment["metadata"]["generation"]
