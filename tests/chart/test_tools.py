"""The chart as helm's linter, kubeconform and kube-score judge it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2e.cluster import binaries

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]
Helm = Callable[..., subprocess.CompletedProcess[str]]
Tool = Callable[[str], Path]

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/smart-embedder"
pytestmark = pytest.mark.helm

FULL: Manifest = {
    "replicas": 2,
    "networkPolicy.enabled": True,
    "metrics.serviceMonitor.enabled": True,
    "metrics.prometheusRule.enabled": True,
    "dashboards.enabled": True,
}
FOREIGN = ("ServiceMonitor", "PrometheusRule")
"""Kinds of the Prometheus operator: the Kubernetes module has no schema for them."""
IGNORED = {
    "container-image-pull-policy": "tags are immutable; Always would need the registry",
    "container-ephemeral-storage-request-and-limit": "it writes to one bounded emptyDir",
    "container-security-context-user-group-id": "it wants another range than the images'",
    "container-resources": "no CPU limit: throttling delays reconciles; memory has one",
    "pod-networkpolicy": "optional by value, and checked here when it is on",
    "deployment-has-host-podantiaffinity": "preferred, so that one node can hold both replicas",
}


def test_helm_lint_has_nothing_to_say(helm: Helm) -> None:
    assert helm("lint", "--strict", str(CHART)).returncode == 0


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The OpenAPI of the Kubernetes module and our CRD, strict, as kubeconform reads them."""
    folder = tmp_path_factory.mktemp("schemas")
    fetched = subprocess.run(
        ["go", "mod", "download", "-json", "k8s.io/kubernetes"],
        cwd=binaries.MODULES / "kubernetes",
        capture_output=True,
        text=True,
        check=True,
    )
    source = Path(json.loads(fetched.stdout)["Dir"]) / "api/openapi-spec/swagger.json"
    definitions = json.loads(source.read_text())["definitions"]
    for name, definition in definitions.items():
        if "properties" in definition:
            definition["additionalProperties"] = False
        if name.endswith(("IntOrString", "resource.Quantity")):
            definition.clear()
            definition["type"] = ["string", "integer", "number"]
    (folder / "all.json").write_text(json.dumps({"definitions": definitions}))
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            group = f"{kind['group'].split('.')[0]}-" if kind["group"] else ""
            file = folder / f"{kind['kind'].lower()}-{group}{kind['version']}.json"
            file.write_text(json.dumps({"$ref": f"all.json#/definitions/{name}"}))
    _write_our_own(folder)
    return folder


def _write_our_own(folder: Path) -> None:
    crd = yaml.safe_load((CHART / "files/crd.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {
        "$ref": "all.json#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    }
    (folder / "embedder-smart-embedder-v1alpha1.json").write_text(json.dumps(schema))


def test_kubeconform_accepts_every_object(
    rendered: list[Manifest], tool: Tool, schemas: Path, tmp_path: Path
) -> None:
    manifests = [each for each in rendered if each["kind"] not in FOREIGN]
    file = tmp_path / "manifests.yaml"
    file.write_text(yaml.safe_dump_all(manifests))

    judged = subprocess.run(
        [
            tool("kubeconform"),
            "-strict",
            "-summary",
            f"-schema-location={schemas}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
            file,
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert f"{len(manifests)} resources found" in judged.stdout


def test_kube_score_finds_nothing_that_has_no_reason(
    render: Render, tool: Tool, tmp_path: Path
) -> None:
    file = tmp_path / "manifests.yaml"
    ours = [
        each
        for each in render(FULL)
        if each["kind"] not in (*FOREIGN, "CustomResourceDefinition", "Embedder")
    ]
    file.write_text(yaml.safe_dump_all(ours))

    judged = subprocess.run(
        [
            tool("kube-score"),
            "score",
            "--output-format=ci",
            *(f"--ignore-test={name}" for name in IGNORED),
            file,
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    critical = [line for line in judged.stdout.splitlines() if "[CRITICAL]" in line]
    assert critical == []


def test_promtool_accepts_the_rules_as_they_are_rendered(
    render: Render, tool: Tool, tmp_path: Path
) -> None:
    [rule] = [each for each in render(FULL) if each["kind"] == "PrometheusRule"]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rule["spec"]))

    checked = subprocess.run(
        [tool("promtool"), "check", "rules", "--lint-fatal", file],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    found = sum(len(group["rules"]) for group in rule["spec"]["groups"])
    assert f"{found} rules found" in checked.stdout
