"""An Embedder's life on a real cluster: applied, asked, edited under load, deleted."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from e2e import evidence
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.waiting import until
from e2e.embedder import OURS, Embedder
from e2e.load import Load
from e2e.questions import EMBEDDING, RERANK, ask
from e2e.up import QUICKSTART

pytestmark = pytest.mark.usefixtures("operator")

AFTER_THE_FIRST_END = 200
"""Requests that a rolling update must bear after the first pod is told to go."""


@pytest.fixture
def embedder(kubectl: Kubectl) -> Embedder:
    """Applied from the quickstart, and Ready."""
    began = time.monotonic()
    embedder = Embedder(kubectl)
    embedder.create_from(QUICKSTART)
    embedder.ready()
    print(f"Ready {time.monotonic() - began:.0f} s after kubectl apply")
    return embedder


@pytest.mark.core
def test_an_edit_of_the_batches_rolls_through_and_loses_no_request(
    kubectl: Kubectl, embedder: Embedder, operator_image: str, start_load: Callable[..., Load]
) -> None:
    embedding, ranking = ask(kubectl, operator_image, embedder.endpoint, EMBEDDING, RERANK)
    assert len(embedding["data"][0]["embedding"]) > 0
    assert sorted(result["index"] for result in ranking["results"]) == [0, 1]
    [before] = names(embedder)
    load = start_load(embedder.endpoint + EMBEDDING.path, EMBEDDING.body, rate=20)

    embedder.edit(serving={"maxBatchTokens": 2048})
    told = until(lambda: told_to_go(embedder, before), f"{before} to be told to go", seconds=200)
    until(lambda: before not in names(embedder), f"{before} to be gone", seconds=60)
    time.sleep(max(0.0, told + AFTER_THE_FIRST_END / 20 + 1 - time.time()))
    load.end()

    answers = load.answers()
    late = [answer for answer in answers if answer.sent > told]
    slowest = max(answer.answered - answer.sent for answer in answers)
    print(f"{len(answers)} requests, {len(late)} after the first end; slowest {slowest:.2f} s")
    assert len(late) >= AFTER_THE_FIRST_END
    assert {answer.outcome for answer in answers} == {"200"}
    [after] = names(embedder)
    assert after != before


def test_a_deleted_embedder_takes_everything_along_without_a_finalizer(
    kubectl: Kubectl, embedder: Embedder
) -> None:
    theirs = children(kubectl, embedder)
    kinds = {child["kind"] for child in theirs}
    assert {"Deployment", "Service", "ConfigMap", "Pod", "EndpointSlice"} <= kinds
    assert not any(one["metadata"].get("finalizers") for one in [embedder.live(), *theirs])

    began = time.monotonic()
    kubectl("delete", "embedder", embedder.name)
    until(lambda: not children(kubectl, embedder), "nothing to be left", seconds=90)
    print(f"{len(theirs)} objects gone {time.monotonic() - began:.0f} s after kubectl delete")


def test_a_namespace_goes_while_the_operator_is_stopped(
    kubectl: Kubectl, embedder: Embedder, operator: Kubectl, stopped: Callable[[], None]
) -> None:
    assert embedder.pods()
    stopped()
    began = time.monotonic()
    kubectl("delete", "namespace", str(kubectl.namespace), "--timeout=90s")
    print(f"namespace gone after {time.monotonic() - began:.0f} s")
    assert operator.get("pods")["items"] == []


@pytest.fixture
def stopped(operator: Kubectl) -> Iterator[Callable[[], None]]:
    """Scales the operator to 0; it comes back after the case."""
    deployment = operator("get", "deployment", "-o", "name").strip()
    replicas = operator.get(deployment)["spec"]["replicas"]

    def stop() -> None:
        operator("scale", deployment, "--replicas=0")
        until(lambda: not operator.get("pods")["items"], "the operator to stop")

    yield stop
    operator("scale", deployment, f"--replicas={replicas}")
    operator("rollout", "status", deployment, "--timeout=90s")


def names(embedder: Embedder) -> list[str]:
    return [pod["metadata"]["name"] for pod in embedder.pods()]


def told_to_go(embedder: Embedder, name: str) -> float:
    """The second after a pod was deleted; 0 while it was not.

    Its deletionTimestamp is the end of its grace, and has whole seconds.
    """
    for pod in embedder.pods():
        if pod["metadata"]["name"] == name and "deletionTimestamp" in pod["metadata"]:
            end = datetime.fromisoformat(pod["metadata"]["deletionTimestamp"]).timestamp()
            return end - float(pod["metadata"]["deletionGracePeriodSeconds"]) + 1
    return 0.0


def children(kubectl: Kubectl, embedder: Embedder) -> list[Any]:
    """Every object of the namespace that belongs to the Embedder, whatever its kind."""
    found: list[Any] = kubectl.get(evidence.listable(kubectl), "-l", f"{OURS}={embedder.name}")[
        "items"
    ]
    return found
