"""The metrics API behind a real aggregation layer: registered, asked, withdrawn.

The API server stands on loopback, so its way to the operator is a Service of type ExternalName;
everything else is as in a cluster, the front proxy's certificate and the caBundle included.
"""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from e2e.cluster.commands import CommandFailed
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.waiting import until
from e2e.foreign import CUSTOM_METRICS, metrics_adapter
from e2e.loopback import ApiServer, api_server
from e2e.operator_process import OperatorProcess
from smart_embedder_operator.render import crd

NAMES = {f"v1beta1.{CUSTOM_METRICS}", f"v1beta2.{CUSTOM_METRICS}"}
METRIC = "smart_embedder_queue_depth"
LABELS = {
    "app.kubernetes.io/managed-by": "smart-embedder-operator",
    "smart-embedder.io/embedder": "x",
}
OWNER = "smart-embedder"


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with api_server() as server:
        server.kubectl.define(crd())
        server.kubectl("create", "clusterrole", OWNER, "--verb=get", "--resource=pods")
        yield server


@pytest.fixture
def replica(server: ApiServer) -> Iterator[OperatorProcess]:
    identity = server.kubeconfig_for("operator", "system:masters")
    replica = OperatorProcess(
        identity, metrics_api="true", metrics_api_service="operator", metrics_api_owner=OWNER
    )
    replica.set(metrics_api_service_port=str(replica.api_port))
    external = {"type": "ExternalName", "externalName": "localhost"}
    server.kubectl.inside("default").apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "operator"}, "spec": external}
    )
    replica.start()
    yield replica
    replica.stop()


def registered(kubectl: Kubectl) -> set[str]:
    found = kubectl("get", "apiservices", "-o", "name").split()
    return NAMES & {name.partition("/")[2] for name in found}


def available(kubectl: Kubectl) -> None:
    for name in NAMES:
        until(partial(kubectl.find, "apiservice", name), name, seconds=60)
        kubectl("wait", "--for=condition=Available", f"apiservice/{name}", "--timeout=60s")


@contextmanager
def queue(depth: int) -> Iterator[int]:
    """A pod's metrics port."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = f"{METRIC} {depth}.0\n".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def pod(kubectl: Kubectl, name: str, port: int, *, started: bool = True) -> None:
    """A pod as a kubelet would report it."""
    container = {
        "name": "serve",
        "image": "x",
        "ports": [{"name": "metrics", "containerPort": port}],
    }
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": LABELS | {"pod": name}},
            "spec": {"containers": [container], "automountServiceAccountToken": False},
        }
    )
    state = {"name": "serve", "started": started, "ready": started, "restartCount": 0}
    state |= {"image": "x", "imageID": "x", "state": {"running": {}}}
    status = {
        "phase": "Running",
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "containerStatuses": [state],
    }
    kubectl("patch", "pod", name, "--subresource=status", "-p", json.dumps({"status": status}))


def answers(kubectl: Kubectl) -> bool:
    try:
        return bool(kubectl("get", "--raw", f"/apis/{CUSTOM_METRICS}/v1beta2"))
    except CommandFailed:
        return False


def values(kubectl: Kubectl, version: str = "v1beta2", query: str = "") -> dict[str, str] | None:
    """The value of each pod; None while a new replica has not read them all."""
    path = f"/apis/{CUSTOM_METRICS}/{version}/namespaces/default/pods/%2A/{METRIC}{query}"
    try:
        found = json.loads(kubectl("get", "--raw", path))
    except CommandFailed as refused:
        if "not every pod has been read yet" in str(refused):
            return None
        raise
    return {item["describedObject"]["name"]: item["value"] for item in found["items"]}


@pytest.mark.core
def test_the_aggregator_finds_answers_and_what_stops_is_withdrawn(
    server: ApiServer, replica: OperatorProcess
) -> None:
    kubectl = server.kubectl.inside("default")
    available(kubectl)
    assert f"pods/{METRIC}" in kubectl("get", "--raw", f"/apis/{CUSTOM_METRICS}/v1beta2")
    owners = kubectl.get("apiservice", f"v1beta2.{CUSTOM_METRICS}")["metadata"]["ownerReferences"]
    assert [owner["name"] for owner in owners] == [OWNER]
    with queue(12) as busy, queue(0) as idle:
        pod(kubectl, "busy", busy)
        pod(kubectl, "idle", idle)
        pod(kubectl, "loading", idle, started=False)
        until(lambda: values(kubectl) == {"busy": "12", "idle": "0"}, "the queues", seconds=30)
        assert values(kubectl, "v1beta1", "?labelSelector=pod%3Dbusy") == {"busy": "12"}
    until(lambda: values(kubectl) == {}, "stale values to be dropped", seconds=30)
    assert replica.stop() == 0
    assert registered(kubectl) == set()


def test_a_killed_replica_leaves_a_registration_that_its_successor_takes_over(
    server: ApiServer, replica: OperatorProcess
) -> None:
    kubectl = server.kubectl
    available(kubectl)
    replica.stop(signal.SIGKILL)
    assert registered(kubectl) == NAMES
    assert not answers(kubectl)
    replica.start()
    available(kubectl)


def test_a_port_that_cannot_be_reached_is_withdrawn_within_a_minute(
    server: ApiServer, replica: OperatorProcess
) -> None:
    kubectl = server.kubectl.inside("default")
    available(kubectl)
    broken = {"spec": {"type": "ExternalName", "externalName": "nowhere.invalid"}}
    began = time.monotonic()
    kubectl("patch", "service", "operator", "-p", json.dumps(broken))
    until(lambda: registered(kubectl) == set(), "the withdrawal", seconds=90)
    print(f"withdrawn after {time.monotonic() - began:.0f} s")
    assert replica.probe("healthz")


def test_another_provider_keeps_the_group(server: ApiServer, replica: OperatorProcess) -> None:
    kubectl = server.kubectl
    available(kubectl)
    replica.stop()
    kubectl.apply(metrics_adapter())
    replica.start()
    until(lambda: replica.probe("readyz"), "the replica to serve", seconds=60)
    time.sleep(10)
    assert registered(kubectl) == {f"v1beta1.{CUSTOM_METRICS}"}
    theirs = kubectl.get("apiservice", f"v1beta1.{CUSTOM_METRICS}")
    assert theirs["spec"]["service"]["name"] == "adapter"
    kubectl("delete", "apiservice", f"v1beta1.{CUSTOM_METRICS}")
    available(kubectl)


@pytest.mark.usefixtures("replica")
def test_the_certificate_lies_in_one_secret_and_a_new_one_is_followed(
    server: ApiServer,
) -> None:
    kubectl = server.kubectl.inside("default")
    available(kubectl)
    before = kubectl.get("secret", "smart-embedder-metrics-api")["data"]
    kubectl("patch", "secret", "smart-embedder-metrics-api", "-p", '{"data": null}')

    def renewed() -> bool:
        bundle = kubectl.get("apiservice", f"v1beta2.{CUSTOM_METRICS}")["spec"]["caBundle"]
        return bool(bundle != before["ca.crt"])

    until(renewed, "the new authority", seconds=60)
    until(lambda: answers(kubectl), "an answer", seconds=90)
