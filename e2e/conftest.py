"""What the cases stand on: a cluster, images in it, a namespace of their own, and the evidence."""

import os
import secrets
from collections.abc import Callable, Generator, Iterator
from functools import partial

import pytest

from e2e import evidence, load
from e2e.cluster.cluster import EmbeddedCluster
from e2e.cluster.images import OPERATOR, SERVICE
from e2e.cluster.kubectl import Kubectl
from e2e.target import Embedded, Target, choose
from e2e.up import NAMESPACE, install
from e2e.workloads import embedding_server, restricted_namespace

FAILED = pytest.StashKey[bool]()
CASE_SECONDS = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bound each case, but not the fixtures: the first of them may have to build a cluster."""
    for item in items:
        if "e2e" in item.path.parts and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(CASE_SECONDS, func_only=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember a failure until the case's namespace is taken away; in CI a skip is one too."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome, report.longrepr = "failed", f"skipped, which CI forbids: {report.longrepr}"
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(scope="session")
def target() -> Target:
    """The cluster the cases run on; the embedded one gets two nodes and a GPU node."""
    chosen = choose()
    if isinstance(chosen, Embedded):
        chosen.cluster.up(nodes=2, gpu_nodes=1)
    else:
        chosen.up()
    return chosen


@pytest.fixture
def embedded(target: Target) -> EmbeddedCluster:
    """The embedded cluster, for cases that stop its parts."""
    if not isinstance(target, Embedded):
        pytest.skip("stops nodes, which is for the embedded cluster only")
    return target.cluster


@pytest.fixture(scope="session")
def operator_image(target: Target) -> str:
    """The operator's image; being small and with Python, it also plays the clients."""
    return target.image(OPERATOR)


@pytest.fixture(scope="session")
def service_image(target: Target) -> str:
    """The service's image."""
    return target.image(SERVICE)


@pytest.fixture(scope="session")
def operator(target: Target, operator_image: str, service_image: str) -> Kubectl:
    """The chart, installed into a namespace that admits restricted pods only."""
    kubectl = target.kubectl.inside(NAMESPACE)
    kubectl.apply(restricted_namespace(NAMESPACE))
    install(target, operator_image, service_image)
    return kubectl


@pytest.fixture
def kubectl(target: Target, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """Kubectl inside a new namespace that admits restricted pods only and goes with the case."""
    name = f"e2e-{secrets.token_hex(4)}"
    target.kubectl.apply(restricted_namespace(name))
    inside = target.kubectl.inside(name)
    yield inside
    if request.node.stash.get(FAILED, False):
        folder = evidence.keep(request.node.name, inside)
        print(f"evidence: {folder}")
    target.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture
def start_load(kubectl: Kubectl, operator_image: str) -> Callable[..., load.Load]:
    """Start open-loop load from inside the case's namespace; see `e2e.load.start`."""
    return partial(load.start, kubectl, operator_image)


@pytest.fixture
def serve(kubectl: Kubectl, service_image: str) -> Callable[..., str]:
    """Run the service with its demo models behind a Service; returns where it answers."""

    def run(name: str = "search", replicas: int = 1) -> str:
        kubectl.apply(*embedding_server(name, service_image, replicas))
        rollout = ("status", f"deployment/{name}", "--timeout=280s")
        kubectl("rollout", *rollout, timeout=290)
        return f"http://{name}:8000"

    return run
