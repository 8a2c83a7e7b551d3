"""The dashboards in the chart are those that their source says."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_dashboards_are_up_to_date() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "scripts/dashboards", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr
