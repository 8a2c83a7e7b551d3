"""The life of an install: packaged, asked, upgraded under load, rolled back, uninstalled."""

from collections.abc import Callable

import pytest

from e2e.chart.installed import leftovers, reconciles
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.waiting import until
from e2e.embedder import Embedder
from e2e.load import Load
from e2e.questions import EMBEDDING
from e2e.release import Release, Version
from e2e.up import QUICKSTART

CRD = "customresourcedefinition.apiextensions.k8s.io/embedders.smart-embedder.io"
RATE = 20


@pytest.fixture
def load(start_load: Callable[..., Load]) -> Callable[[], Load]:
    """Ask the Embedder `search`, open loop, until told to end."""
    return lambda: start_load(f"http://search:8000{EMBEDDING.path}", EMBEDDING.body, rate=RATE)


@pytest.mark.core
@pytest.mark.timeout(420, func_only=True)  # a first pull, and two starts of a serving pod
def test_a_packaged_chart_is_installed_asked_upgraded_under_load_and_uninstalled(
    release: Release,
    embedder: Embedder,
    load: Callable[[], Load],
    previous: Version,
    current: Version,
) -> None:
    release.upgrade(previous)
    embedder.create_from(QUICKSTART)
    embedder.ready()
    assert "Phase:          Succeeded" in release.test()
    serving = incarnations(embedder)

    asking = load()
    release.upgrade(current)
    until(lambda: reconciles(release), "the new operator to look at the Embedder")
    release.rollback()
    until(lambda: reconciles(release), "the old operator to look at it again")
    release.uninstall()
    until(lambda: not leftovers(release), "nothing of it to be left")
    asking.end()

    outcomes = asking.outcomes()
    print(f"upgraded, rolled back and uninstalled under {outcomes}")
    assert set(outcomes) == {"200"}
    assert incarnations(embedder) == serving
    assert CRD in release.kubectl("get", "crd", "-o", "name").split()


def test_an_embedder_that_follows_the_release_rolls_with_it_and_loses_no_request(
    release: Release,
    embedder: Embedder,
    load: Callable[[], Load],
    previous: Version,
    current: Version,
) -> None:
    release.upgrade(previous)
    embedder.create(rollout={"imagePolicy": "OnUpgrade"})
    embedder.ready()
    [before] = images(embedder)

    asking = load()
    release.upgrade(current)
    until(lambda: images(embedder) not in ([before], []), "a pod of the new image", seconds=120)
    until(lambda: before not in images(embedder), "the old pod to be gone", seconds=120)
    release.rollback()
    until(lambda: images(embedder) == [before], "the old image again", seconds=180)
    asking.end()

    outcomes = asking.outcomes()
    print(f"rolled there and back under {outcomes}")
    assert set(outcomes) == {"200"}


def test_without_keep_an_uninstall_takes_the_crd_and_every_embedder(
    release: Release, kubectl: Kubectl, embedder: Embedder, current: Version
) -> None:
    release.upgrade(current, "crds.keep=false")
    embedder.create(replicas=0)
    until(lambda: kubectl("get", "deployments", "-o", "name"), "its Deployment")

    release.uninstall()

    until(lambda: not leftovers(release), "nothing of it to be left")
    assert CRD not in release.kubectl("get", "crd", "-o", "name").split()
    until(lambda: not kubectl("get", "deployments,services", "-o", "name"), "its children to go")


def test_an_install_after_an_uninstall_takes_its_embedders_up_again(
    release: Release, kubectl: Kubectl, embedder: Embedder, current: Version
) -> None:
    release.upgrade(current)
    embedder.create(replicas=0)
    until(lambda: embedder.condition("Progressing"), "the operator to see it")
    uid = embedder.live()["metadata"]["uid"]
    release.uninstall()
    embedder.edit(service={"annotations": {"edited": "without an operator"}})

    release.upgrade(current)

    annotations = "jsonpath={.metadata.annotations.edited}"
    until(lambda: kubectl("get", "service", "search", "-o", annotations), "the edit to be done")
    assert embedder.live()["metadata"]["uid"] == uid


def incarnations(embedder: Embedder) -> set[tuple[str, str, int]]:
    """Each serving pod with its image and its restarts: who serves, exactly."""
    return {
        (pod["metadata"]["uid"], container["image"], container["restartCount"])
        for pod in embedder.pods()
        for container in pod["status"]["containerStatuses"]
    }


def images(embedder: Embedder) -> list[str]:
    """What each serving pod runs, the leaving ones too."""
    return [pod["spec"]["containers"][0]["image"] for pod in embedder.pods()]
