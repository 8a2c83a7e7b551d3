"""A cluster of the chart's own, empty before each case: what it installs is for a whole cluster."""

from collections.abc import Iterator

import pytest

from e2e.cluster import images
from e2e.cluster.kubectl import Kubectl
from e2e.embedder import Embedder
from e2e.release import CHART, Release, Version, package, previous_chart
from e2e.target import Embedded, Target, choose
from e2e.workloads import restricted_namespace

NAME = "smart-embedder"
"""The release and its namespace, as the documents have them."""


@pytest.fixture(scope="session")
def target() -> Iterator[Target]:
    """One node, apart from the other cases' cluster; taken away unless it was up before."""
    others = choose()
    if not isinstance(others, Embedded):
        pytest.skip("wants a cluster to itself, which only the embedded one gives")
    own = Embedded(f"{others.cluster.layout.name}-chart")
    was_up = own.cluster.running
    own.up()
    yield own
    if not was_up:
        own.cluster.down()


@pytest.fixture(scope="session")
def current(
    tmp_path_factory: pytest.TempPathFactory, operator_image: str, service_image: str
) -> Version:
    """The working tree, packaged."""
    return Version(package(CHART, tmp_path_factory.mktemp("chart")), operator_image, service_image)


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory, current: Version) -> Version:
    """What is upgraded from: another chart, and the images under other names."""
    chart = previous_chart(tmp_path_factory.mktemp("previous"))
    return Version(chart, _renamed(current.operator), _renamed(current.service))


def _renamed(reference: str) -> str:
    name, _, tag = reference.rpartition(":")
    other = f"{name}-previous:{tag}"
    images.publish(reference, other)
    return other


@pytest.fixture
def release(target: Target) -> Iterator[Release]:
    """Not installed yet; it goes with the case, the CRD and all Embedders too."""
    release = Release(target.kubectl, NAME, NAME)
    target.kubectl.apply(restricted_namespace(NAME))
    yield release
    release.uninstall()
    target.kubectl("delete", "crd", "embedders.smart-embedder.io", "--ignore-not-found")
    target.kubectl("delete", "namespace", NAME, timeout=90)


@pytest.fixture
def embedder(kubectl: Kubectl) -> Embedder:
    """Not written yet."""
    return Embedder(kubectl)
