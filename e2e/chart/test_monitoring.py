"""What the chart gives to Prometheus and Grafana, as their own tools take it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import foreign
from e2e.cluster.commands import output
from e2e.release import Release, Version
from e2e.target import Target

KINDS = (foreign.SERVICE_MONITOR, foreign.PROMETHEUS_RULE)
WANTED = ("metrics.serviceMonitor", "metrics.prometheusRule", "dashboards")


@pytest.fixture
def prometheus_operator(target: Target) -> Iterator[None]:
    """The kinds of the Prometheus operator, without the operator."""
    foreign.install(target.kubectl, *KINDS)
    yield
    foreign.remove(target.kubectl, *KINDS)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's prometheus is not installed")
@pytest.mark.usefixtures("prometheus_operator")
def test_rules_metrics_and_dashboards_are_where_their_tools_look_and_as_they_want_them(
    release: Release, current: Version, tmp_path: Path
) -> None:
    release.upgrade(current, *(f"{value}.enabled=true" for value in WANTED))
    kubectl = release.kubectl.inside(release.namespace)

    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps(kubectl.get("prometheusrule", release.name)["spec"]))
    assert "SUCCESS" in output(["promtool", "check", "rules", "--lint-fatal", rules])

    monitor = kubectl.get("servicemonitor", release.name)["spec"]
    labels = ",".join(f"{key}={value}" for key, value in monitor["selector"]["matchLabels"].items())
    [port] = [endpoint["port"] for endpoint in monitor["endpoints"]]
    [scraped] = [
        one["metadata"]["name"]
        for one in kubectl.get("services", "-l", labels)["items"]
        if port in [each["name"] for each in one["spec"]["ports"]]
    ]
    where = f"/api/v1/namespaces/{release.namespace}/services/{scraped}:{port}/proxy/metrics"
    page = kubectl("get", "--raw", where)
    assert "leader_election_master_status" in page
    output(["promtool", "check", "metrics"], stdin=page)

    boards = kubectl.get("configmaps", "-l", "grafana_dashboard=1")["items"]
    [documents] = zip(*(board["data"].values() for board in boards), strict=True)
    assert len({json.loads(document)["uid"] for document in documents}) == len(boards) == 3
