"""The API server and the operator agree: on what may be written, and on what is made of it.

No node is needed: etcd and kube-apiserver on loopback, every write a dry run.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2e.cluster.commands import CommandFailed
from e2e.loopback import ApiServer, api_server
from smart_embedder_operator.platform import Images, Platform
from smart_embedder_operator.render import crd, render
from smart_embedder_operator.spec import InvalidSpec, parse

ROOT = Path(__file__).parents[1]
SPECS = yaml.safe_load((ROOT / "tests/controller/decisions/specs.yaml").read_text())
PLATFORM = Platform(version="0", namespace="operator", images=Images(cpu="cpu:1", cuda="cuda:1"))
LONGEST = "s" * 40


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with api_server() as server:
        server.kubectl.define(crd())
        yield server


def embedder(spec: dict[str, Any], name: str = "search") -> dict[str, Any]:
    return {
        "apiVersion": "smart-embedder.io/v1alpha1",
        "kind": "Embedder",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"models": {"embedding": "BAAI/bge-m3"}} | spec,
    }


def refusal(server: ApiServer, manifests: str) -> str | None:
    """What the API server has against it, to the letter; None when it would take it."""
    strict = ("--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts")
    try:
        server.kubectl("apply", *strict, "-f", "-", stdin=manifests)
    except CommandFailed as failed:
        return str(failed)
    return None


@pytest.mark.parametrize("case", SPECS["broken"], ids=lambda case: case["words"])
def test_the_api_server_says_what_the_operator_says(
    server: ApiServer, case: dict[str, Any]
) -> None:
    said = refusal(server, yaml.safe_dump(embedder(case["spec"])))
    assert said is not None
    assert case["words"] in said


@pytest.mark.parametrize("name", [f"{LONGEST}s", "9lives", "a.b"])
def test_a_name_that_no_service_could_have_is_refused(server: ApiServer, name: str) -> None:
    said = refusal(server, yaml.safe_dump(embedder({}, name)))
    assert said is not None
    assert "the name of an Embedder starts with a letter" in said


def laid_over(fragments: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: value for fragment in fragments for key, value in fragment.items()}


def is_valid(manifest: dict[str, Any]) -> bool:
    try:
        parse(manifest)
    except InvalidSpec:
        return False
    return True


@pytest.mark.core
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(spec=st.lists(st.sampled_from(SPECS["fragments"]), max_size=7).map(laid_over))
def test_they_agree_on_every_spec_and_on_every_object(
    server: ApiServer, spec: dict[str, Any]
) -> None:
    manifest = embedder(spec, LONGEST)
    written = yaml.safe_dump(manifest)
    said = refusal(server, written)
    assert (said is None) == is_valid(manifest), said
    if said is None and not spec.get("paused"):
        assert refusal(server, render(written, PLATFORM)) is None


@pytest.mark.parametrize(
    ("cache", "words"),
    [
        ({"size": "10Gi"}, "a volume cannot shrink"),
        ({"size": "30Gi"}, None),
        ({"storageClassName": "slow"}, "a volume cannot change its StorageClass"),
    ],
)
def test_a_volume_is_asked_only_for_what_it_can(
    server: ApiServer, cache: dict[str, str], words: str | None
) -> None:
    before = {"type": "PVC", "size": "20Gi", "storageClassName": "fast"}
    server.kubectl.apply(embedder({"cache": before}, "volume"))
    said = refusal(server, yaml.safe_dump(embedder({"cache": before | cache}, "volume")))
    assert said is None if words is None else words in str(said)


def test_kubectl_explains_and_scales(server: ApiServer) -> None:
    assert "Changing it is a migration" in server.kubectl("explain", "embedder.spec.models.dense")
    server.kubectl.apply(embedder({}, "scaled"))
    server.kubectl("scale", "embedder/scaled", "--replicas=3")
    assert server.kubectl.get("embedder", "scaled")["spec"]["replicas"] == 3
