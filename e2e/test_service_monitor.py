"""The ServiceMonitor of an Embedder leads Prometheus to a port that answers."""

from collections.abc import Iterator

import pytest

from e2e import foreign
from e2e.cluster.kubectl import Kubectl, Manifest
from e2e.cluster.waiting import until
from e2e.embedder import Embedder


@pytest.fixture
def service_monitors(operator: Kubectl) -> Iterator[None]:
    """The kind is there, without the Prometheus operator."""
    foreign.install(operator, foreign.SERVICE_MONITOR)
    yield
    foreign.remove(operator, foreign.SERVICE_MONITOR)


def targets(kubectl: Kubectl, monitor: Manifest) -> list[tuple[str, int, str]]:
    """Pod, port and path of everything that it selects, as the Prometheus operator finds them."""
    labels = ",".join(f"{key}={value}" for key, value in monitor["selector"]["matchLabels"].items())
    return [
        (address["targetRef"]["name"], port["port"], endpoint["path"])
        for service in kubectl.get("services", "-l", labels)["items"]
        for subset in kubectl.get("endpoints", service["metadata"]["name"]).get("subsets", [])
        for endpoint in monitor["endpoints"]
        for port in subset["ports"]
        if port["name"] == endpoint["port"]
        for address in subset.get("addresses", [])
    ]


@pytest.mark.usefixtures("service_monitors")
def test_the_service_monitor_resolves_to_a_live_port_of_each_pod(kubectl: Kubectl) -> None:
    embedder = Embedder(kubectl)
    embedder.create(monitoring={"serviceMonitor": "Enabled"})
    embedder.ready()
    until(lambda: kubectl.find("servicemonitor", embedder.name), "the ServiceMonitor")

    found = targets(kubectl, kubectl.get("servicemonitor", embedder.name)["spec"])

    assert [pod for pod, _, _ in found] == [pod["metadata"]["name"] for pod in embedder.pods()]
    for pod, port, path in found:
        url = f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}:{port}/proxy{path}"
        assert "smart_embedder_queue_depth 0.0" in kubectl("get", "--raw", url)
