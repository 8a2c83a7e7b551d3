"""Two replicas of the operator in a cluster, and an API server that goes away, in mid-migration.

A rollout's pods are exchanged by Kubernetes; the operator's part is to flip the Service and to
take the old track away, so that is what has to be finished by whoever is left.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.cluster.cluster import EmbeddedCluster
from e2e.cluster.commands import CommandFailed
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.waiting import until
from e2e.diagnosis.stand_in import STAND_IN
from e2e.embedder import OURS, TRACK, Embedder

OPERATOR = "deployment/smart-embedder"
LEASE = "smart-embedder"
PODS = "app.kubernetes.io/component=operator"


@pytest.fixture
def embedder(kubectl: Kubectl, operator: Kubectl, operator_image: str) -> Embedder:
    """One whose pods are slow enough to start that a migration can be met half-way."""
    assert operator.namespace
    embedder = Embedder(kubectl)
    slow = {"name": "STARTS_AFTER", "value": "8"}
    embedder.create(**STAND_IN | {"image": {"reference": operator_image}, "env": [slow]})
    embedder.ready()
    return embedder


@pytest.fixture
def two_replicas(operator: Kubectl) -> Iterator[Kubectl]:
    """A leader and one in waiting; afterwards one replica as before."""
    operator("scale", OPERATOR, "--replicas=2")
    operator("rollout", "status", OPERATOR, "--timeout=120s")
    yield operator
    operator("scale", OPERATOR, "--replicas=1")


def leader(operator: Kubectl) -> str:
    return str(operator.get("lease", LEASE)["spec"].get("holderIdentity", ""))


def serving(kubectl: Kubectl, embedder: Embedder) -> str:
    """The track behind the Service."""
    selector: dict[str, str] = kubectl.get("service", embedder.name)["spec"]["selector"]
    return selector[TRACK]


def deployments(kubectl: Kubectl, embedder: Embedder) -> list[Any]:
    found: list[Any] = kubectl.get("deployments", "-l", f"{OURS}={embedder.name}")["items"]
    return found


def begin_migration(kubectl: Kubectl, embedder: Embedder) -> str:
    """Edit what decides the vectors and wait until both tracks are there; the old one."""
    before = serving(kubectl, embedder)
    embedder.edit(models={"maxLength": 256})
    until(lambda: len(deployments(kubectl, embedder)) == 2, "the second track", seconds=60)
    assert serving(kubectl, embedder) == before
    return before


def is_finished(kubectl: Kubectl, embedder: Embedder, before: str) -> bool:
    try:
        flipped = serving(kubectl, embedder) != before
        return flipped and len(deployments(kubectl, embedder)) == 1
    except CommandFailed:
        return False


def test_a_leader_killed_in_mid_migration_is_followed_by_one_who_finishes_it(
    kubectl: Kubectl, two_replicas: Kubectl, embedder: Embedder
) -> None:
    pods = two_replicas.get("pods", "-l", PODS)["items"]
    names = {pod["metadata"]["name"] for pod in pods}
    first = leader(two_replicas)
    assert first in names

    before = begin_migration(kubectl, embedder)
    two_replicas("delete", "pod", first, "--grace-period=0", "--force")

    until(lambda: is_finished(kubectl, embedder, before), "the flip", seconds=120)
    assert leader(two_replicas) != first
    embedder.ready()


def test_an_api_server_that_restarts_in_mid_migration_is_waited_for(
    kubectl: Kubectl, operator: Kubectl, embedded: EmbeddedCluster, embedder: Embedder
) -> None:
    [pod] = operator.get("pods", "-l", PODS)["items"]
    before = begin_migration(kubectl, embedder)
    embedded.restart_apiserver()

    until(lambda: is_finished(kubectl, embedder, before), "the flip", seconds=120)
    embedder.ready()
    [same] = operator.get("pods", "-l", PODS)["items"]
    assert same["metadata"]["uid"] == pod["metadata"]["uid"]
    assert same["status"]["containerStatuses"][0]["restartCount"] == 0
