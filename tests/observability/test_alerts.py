"""The alerts, as the real promtool reads them, and the page a person opens when one fires."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "charts/smart-embedder/files/alerts.yaml"
CASES = Path(__file__).with_name("alerts_test.yaml")


def alerts() -> set[str]:
    """The name of every alert."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the real tool."""
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.prometheus
def test_promtool_accepts_the_rules() -> None:
    checked = promtool("check", "rules", ALERTS)

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.prometheus
def test_each_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    cases = tmp_path / "cases.yaml"
    cases.write_text(CASES.read_text().replace("[ALERTS]", f"[{ALERTS}]"))

    tested = promtool("test", "rules", cases)

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_each_alert_has_a_case() -> None:
    cases = yaml.safe_load(CASES.read_text())["tests"]
    fired = {
        case["alertname"]
        for test in cases
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }

    assert fired == alerts()


def test_each_alert_has_its_section_in_the_runbook() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)

    assert set(headings) >= alerts()
