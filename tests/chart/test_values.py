"""Values: each described once, each used, and a wrong one refused before anything is installed."""

import importlib.machinery
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/smart-embedder"
Helm = Callable[..., subprocess.CompletedProcess[str]]

WRONG = [
    "replica=2",
    "replicas=two",
    "replicas=-1",
    "watchNamespaces=a",
    "watchNamespaces[0]=1",
    "crd.install=true",
    "crds.install=yes",
    "crds.enabled=true",
    "image.name=x",
    "image.tag=1",
    "image.pullPolicy=Sometimes",
    "global.registry=x",
    "global.imagePullSecrets[0]=x",
    "global.imagePullSecrets[0].secret=x",
    "service.image.repo=x",
    "operator.workers=0",
    "operator.workers=many",
    "operator.logLevel=LOUD",
    "operator.resyncSeconds=1",
    "metricsApi.enabled=maybe",
    "metricsApi.port=443",
    "metricsApi.service.ipFamilyPolicy=SingleStack",
    "network.ipFamilyPolicy=Triple",
    "rbac.scope=Cluster",
    "serviceAccount.annotations.a=1",
    "metrics.serviceMonitor.enable=true",
    "metrics.serviceMonitor.interval=30",
    "metrics.prometheusRule.enabled=1",
    "dashboards.labels.a=true",
    "podDisruptionBudget.minAvailable=1",
    "networkPolicy.egressCidrs=10.0.0.0/8",
    "networkPolicies.enabled=true",
    "tests.timeoutSeconds=1",
    "nodeSelector.disk=1",
    "extraArgs=--debug",
]


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """The dotted path of every value that is not a table of others."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from leaves(below, f"{path}.{key}".lstrip("."))
    else:
        yield path


def described() -> dict[str, dict[str, str]]:
    """What the values' own comments say, as the generator reads them."""
    path = str(ROOT / "scripts/chart-values")
    loader = importlib.machinery.SourceFileLoader("chart_values", path)
    spec = importlib.util.spec_from_loader("chart_values", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    found: dict[str, dict[str, str]] = module.described((CHART / "values.yaml").read_text())
    return found


@pytest.mark.helm
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_value_is_refused_by_name(wrong: str, helm: Helm) -> None:
    refused = helm(
        "template", "se", str(CHART), "--kube-version=1.34.0", "--set", wrong, check=False
    )

    assert refused.returncode != 0
    name = re.split(r"[=.\[]", wrong)[0]
    assert name in refused.stderr
    assert "schema" in refused.stderr


def test_every_value_is_described() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    told = described()
    whole = [path for path, note in told.items() if "open" in note or "type" in note]

    silent = [
        leaf
        for leaf in leaves(values)
        if leaf not in told and not any(leaf.startswith(f"{path}.") for path in whole)
    ]

    assert silent == []


def test_every_described_value_is_used_by_a_template() -> None:
    source = "\n".join(
        path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file()
    )
    # One helper writes both image references: `.image` and `$image` are either of the two.
    for key in re.findall(r"[.$]image\.(\w+)", source):
        source += f" .Values.image.{key} .Values.service.image.{key}"

    assert [path for path in described() if f".Values.{path}" not in source] == []


def test_the_schema_and_the_table_are_up_to_date() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "scripts/chart-values", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr


def test_the_chart_the_operator_and_the_service_are_one_release() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    images = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])

    assert project
    assert chart["version"] == chart["appVersion"] == project[1]
    assert all(project[1] in image["image"] for image in images)
