"""The chart, rendered by the real helm, and the tools that judge it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2e.cluster import binaries

CHART = Path(__file__).parents[2] / "charts/smart-embedder"
KUBERNETES = "1.34.0"
DIGEST = "sha256:" + "a" * 64

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]
Helm = Callable[..., subprocess.CompletedProcess[str]]
Tool = Callable[[str], Path]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what collected tests drive, before the first one runs: it outlasts their time limit."""
    wanted = any(
        {"helm", "tool"} & set(getattr(item, "fixturenames", ())) for item in session.items
    )
    if wanted and not session.config.option.collectonly and shutil.which("go"):
        binaries.build(*binaries.TOOLS)


@pytest.fixture(scope="session")
def tool() -> Tool:
    """Find a program; without it, and without Go to build it, skip, except in CI."""

    def find(name: str) -> Path:
        built = next((one.built / name for one in binaries.TOOLS if name in one.programs), None)
        for found in (built, shutil.which(name)):
            if found and Path(found).exists():
                return Path(found)
        missing = f"{name} is not installed" + (", nor Go to build it" if built else "")
        return pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)

    return find


@pytest.fixture(scope="session")
def helm(tool: Tool) -> Helm:
    """Run helm; fails the test unless `check=False`."""
    program = tool("helm")

    def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        if check and done.returncode:
            pytest.fail(f"helm {' '.join(arguments)}\n{done.stdout}{done.stderr}")
        return done

    return run


@pytest.fixture(scope="session")
def render(helm: Helm) -> Render:
    """Render the chart with some values; one manifest each."""

    def run(values: Manifest | None = None, *, apis: tuple[str, ...] = ()) -> list[Manifest]:
        setting = [f"--set-json={key}={json.dumps(value)}" for key, value in (values or {}).items()]
        offered = [f"--api-versions={api}" for api in apis]
        text = helm(
            "template", "se", str(CHART), "-n", "se", f"--kube-version={KUBERNETES}",
            *setting, *offered,
        ).stdout  # fmt: skip
        return [manifest for manifest in yaml.safe_load_all(text) if manifest]

    return run


# The values that people choose; what every rendering owes, it owes for each of them.
MATRIX: dict[str, Manifest] = {
    "defaults": {},
    "two replicas": {"replicas": 2, "priorityClassName": "high"},
    "some namespaces": {"watchNamespaces": ["a", "b"]},
    "some namespaces, metrics API asked for": {
        "watchNamespaces": ["a"],
        "metricsApi.enabled": True,
    },
    "no metrics API": {"metricsApi.enabled": False},
    "a certificate of one's own": {"metricsApi.existingSecret": "tls"},
    "monitored": {
        "metrics.serviceMonitor.enabled": True,
        "metrics.prometheusRule.enabled": True,
        "metrics.prometheusRule.alertLabels": {"team": "search"},
        "dashboards.enabled": True,
    },
    "locked down": {"networkPolicy.enabled": True, "networkPolicy.egressCidrs": ["10.0.0.0/8"]},
    "air-gapped": {
        "global.imageRegistry": "registry.internal",
        "global.imagePullSecrets": [{"name": "pull"}],
        "image.digest": DIGEST,
        "service.image.digest": DIGEST,
        "service.image.gpuDigest": DIGEST,
    },
    "arm64": {"nodeSelector": {"kubernetes.io/arch": "arm64"}},
    "IPv6": {
        "network.ipFamilies": ["IPv6"],
        "network.ipFamilyPolicy": "SingleStack",
    },
    "everything extra": {
        "extraArgs": ["--help"],
        "extraEnv": [{"name": "A", "value": "b"}],
        "extraEnvFrom": [{"configMapRef": {"name": "c"}}],
        "extraVolumes": [{"name": "v", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "v", "mountPath": "/v"}],
        "extraContainers": [{"name": "side", "image": "side:1"}],
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "{{ .Release.Name }}-x"},
            }
        ],
        "podLabels": {"l": "1"},
        "podAnnotations": {"a": "1"},
        "commonLabels": {"team": "search"},
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "tolerations": [{"operator": "Exists"}],
        "runtimeClassName": "gvisor",
    },
    "nothing but the operator": {
        "crds.install": False,
        "rbac.create": False,
        "serviceAccount.create": False,
        "serviceAccount.name": "mine",
    },
}


@pytest.fixture(scope="session")
def choices() -> dict[str, Manifest]:
    """The matrix, by what somebody wants."""
    return MATRIX


@pytest.fixture(scope="module", params=MATRIX.values(), ids=list(MATRIX))
def rendered(request: pytest.FixtureRequest, render: Render) -> list[Manifest]:
    """The chart for each set of values."""
    return render(request.param)
