"""The metrics API's registration on a real cluster: there only while somebody answers it.

An APIService without a backend blocks the end of every namespace.
"""

import time
from collections.abc import Iterator

import pytest

from e2e.cluster.commands import CommandFailed
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.waiting import until
from e2e.diagnosis.stand_in import STAND_IN
from e2e.embedder import Embedder
from e2e.foreign import CUSTOM_METRICS, metrics_adapter

NAMES = {f"v1beta1.{CUSTOM_METRICS}", f"v1beta2.{CUSTOM_METRICS}"}
OPERATOR = "deployment/smart-embedder"
SERVICE = "smart-embedder-metrics-api"
WITHDRAWN_SECONDS = 60.0
AT_ONCE_SECONDS = 10.0
TOLD_SECONDS = 30.0
# Once withdrawn, the port is given a minute to be mended.
BACK_SECONDS = 150.0


@pytest.fixture(autouse=True)
def registered(operator: Kubectl) -> Iterator[None]:
    """Each case finds the API registered and leaves it so."""
    await_registration(operator)
    yield
    operator("scale", OPERATOR, "--replicas=1")
    await_registration(operator)


def await_registration(kubectl: Kubectl) -> None:
    until(lambda: found(kubectl) == NAMES, "the registration", seconds=BACK_SECONDS)
    for name in NAMES:
        kubectl("wait", f"apiservice/{name}", "--for=condition=Available", "--timeout=60s")


def found(kubectl: Kubectl) -> set[str]:
    words = kubectl("get", "apiservices", "-o", "name").split()
    return NAMES & {word.partition("/")[2] for word in words}


def end_a_namespace(kubectl: Kubectl, name: str) -> float:
    """Make one with something in it and delete it; the seconds that took."""
    kubectl("create", "namespace", name)
    kubectl("create", "configmap", "left", "--namespace", name)
    began = time.monotonic()
    kubectl("delete", "namespace", name, "--timeout=60s")
    return time.monotonic() - began


def test_an_operator_scaled_to_nothing_withdraws_and_namespaces_end(operator: Kubectl) -> None:
    cluster = operator.inside("default")
    began = time.monotonic()
    operator("scale", OPERATOR, "--replicas=0")
    until(lambda: not found(operator), "the withdrawal", seconds=AT_ONCE_SECONDS)
    withdrawn = time.monotonic() - began
    ended = end_a_namespace(cluster, "e2e-unrelated")
    print(f"withdrawn after {withdrawn:.1f} s; a namespace ended in {ended:.1f} s")


def test_a_port_that_cannot_be_reached_is_withdrawn_while_the_operator_lives(
    operator: Kubectl,
) -> None:
    before = operator.get("pods", "-l", "app.kubernetes.io/component=operator")["items"]
    began = time.monotonic()
    move_port(operator, "probes")
    try:
        until(lambda: not found(operator), "the withdrawal", seconds=WITHDRAWN_SECONDS)
        withdrawn = time.monotonic() - began
        ended = end_a_namespace(operator.inside("default"), "e2e-unrelated")
    finally:
        move_port(operator, "metrics-api")
    print(f"withdrawn after {withdrawn:.1f} s; a namespace ended in {ended:.1f} s")
    after = operator.get("pods", "-l", "app.kubernetes.io/component=operator")["items"]
    assert [pod["metadata"]["uid"] for pod in after] == [pod["metadata"]["uid"] for pod in before]


def move_port(kubectl: Kubectl, target: str) -> None:
    """Lead the Service to another port of the operator's pods."""
    change = f'[{{"op": "replace", "path": "/spec/ports/0/targetPort", "value": "{target}"}}]'
    kubectl("patch", "service", SERVICE, "--type=json", "-p", change)


def test_another_provider_keeps_the_group_and_ours_comes_back_when_it_goes(
    operator: Kubectl, kubectl: Kubectl, operator_image: str
) -> None:
    embedder = Embedder(kubectl)
    scaled = {"autoscaling": {"mode": "HPA", "maxReplicas": 2}}
    embedder.create(**STAND_IN | scaled | {"image": {"reference": operator_image}})
    embedder.ready()

    operator("scale", OPERATOR, "--replicas=0")
    until(lambda: not found(operator), "the withdrawal", seconds=AT_ONCE_SECONDS)
    operator.apply(metrics_adapter())
    try:
        operator("scale", OPERATOR, "--replicas=1")
        operator("rollout", "status", OPERATOR, "--timeout=90s")
        until(lambda: said(operator, "another provider"), "the operator to notice", seconds=60)
        theirs = operator.get("apiservice", f"v1beta1.{CUSTOM_METRICS}")
        assert found(operator) == {f"v1beta1.{CUSTOM_METRICS}"}
        assert theirs["spec"]["service"]["name"] == "adapter"
        # It is dead, so the HPA gets nothing, and the Embedder says so.
        until(lambda: fault(embedder) == "MetricsUnavailable", "the fault", seconds=TOLD_SECONDS)
    finally:
        operator("delete", "apiservice", f"v1beta1.{CUSTOM_METRICS}")
    await_registration(operator)
    until(lambda: fault(embedder) == "NoFault", "its end", seconds=TOLD_SECONDS)


def fault(embedder: Embedder) -> str:
    return str(embedder.condition("Degraded").get("reason"))


def said(kubectl: Kubectl, words: str) -> bool:
    try:
        return words in kubectl("logs", OPERATOR)
    except CommandFailed:
        return False
