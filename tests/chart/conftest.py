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
        for found in (binaries.path(name), shutil.which(name)):
            if found and Path(found).exists():
                return Path(found)
        missing = f"neither {name} nor Go to build it is installed"
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
