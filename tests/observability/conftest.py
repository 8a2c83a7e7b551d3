"""Tools that these tests drive: skipped where they are missing, except in CI."""

import os
import shutil

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip for want of Prometheus, and say so; in CI that is a failure."""
    if item.get_closest_marker("prometheus") is None or shutil.which("promtool"):
        return
    if os.environ.get("CI"):
        pytest.fail("prometheus and promtool are missing (Debian package: prometheus)")
    pytest.skip("prometheus and promtool are not installed (Debian package: prometheus)")
