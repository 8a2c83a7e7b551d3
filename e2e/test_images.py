"""The two images in a real cluster: restricted, read-only, and losing nothing when they go."""

from collections.abc import Callable

import pytest

from e2e.cluster.kubectl import Kubectl
from e2e.load import Load
from e2e.questions import EMBEDDING, RERANK, ask


@pytest.mark.core
def test_the_service_answers_restricted_and_read_only_behind_its_service(
    kubectl: Kubectl, serve: Callable[..., str], operator_image: str
) -> None:
    server = serve()

    embedding, ranking = ask(kubectl, operator_image, server, EMBEDDING, RERANK)

    assert len(embedding["data"][0]["embedding"]) > 0
    assert sorted(result["index"] for result in ranking["results"]) == [0, 1]


def test_the_operator_runs_restricted_and_read_only(operator: Kubectl) -> None:
    operator("rollout", "status", "deployment", "--timeout=60s")
    pods = operator.get("pods", "-l", "app.kubernetes.io/name=smart-embedder")["items"]

    containers = [container for pod in pods for container in pod["spec"]["containers"]]
    assert containers
    assert all(one["securityContext"]["readOnlyRootFilesystem"] for one in containers)


@pytest.mark.core
def test_deleting_a_pod_under_load_loses_no_request(
    kubectl: Kubectl, serve: Callable[..., str], start_load: Callable[..., Load]
) -> None:
    server = serve(replicas=2)
    first, *_ = kubectl("get", "pods", "-l", "e2e=search", "-o", "name").split()
    load = start_load(server + EMBEDDING.path, EMBEDDING.body, rate=10, count=300)

    kubectl("delete", first, timeout=90)

    assert load.outcomes() == {"200": 300}
