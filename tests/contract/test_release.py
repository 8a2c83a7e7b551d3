"""What releases are made with: workflows that GitHub can read, and one command for the version."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_meets_githubs_schema(workflow: Path) -> None:
    checked = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema=vendor.github-workflows",
            workflow,
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_no_more_rights_than_it_names(workflow: Path) -> None:
    read = yaml.safe_load(workflow.read_text())

    assert read["permissions"] == {"contents": "read"}


def test_the_release_builds_every_image_the_chart_names() -> None:
    release = yaml.safe_load((ROOT / ".github/workflows/release.yaml").read_text())
    chart = yaml.safe_load((ROOT / "charts/smart-embedder/Chart.yaml").read_text())
    built = {
        f"{each['name']}:{chart['version']}{each['suffix']}"
        for each in release["jobs"]["images"]["strategy"]["matrix"]["include"]
    }
    named = {
        each["image"].rpartition("/")[2]
        for each in yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    }

    assert built == named


def test_one_command_writes_the_version_everywhere(tmp_path: Path) -> None:
    for name in (
        "pyproject.toml",
        "CHANGELOG.md",
        "scripts/version",
        "charts/smart-embedder/Chart.yaml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    script = str(tmp_path / "scripts/version")

    subprocess.run([script, "7.8.9"], check=True, capture_output=True)

    chart = yaml.safe_load((tmp_path / "charts/smart-embedder/Chart.yaml").read_text())
    said = subprocess.run([script], check=True, capture_output=True, text=True).stdout.strip()
    assert said == chart["version"] == chart["appVersion"] == "7.8.9"
    assert chart["annotations"]["artifacthub.io/images"].count(":7.8.9") == 3
    assert "## [7.8.9] - " in (tmp_path / "CHANGELOG.md").read_text()
    assert subprocess.run([script, "seven"], capture_output=True, check=False).returncode == 1
