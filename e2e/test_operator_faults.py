"""The operator against a real API server that fails, restarts, falls silent, and is edited by hand.

No node is needed: etcd and kube-apiserver on loopback, the operator as one or two processes.
"""

import json
import secrets
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from e2e.audit import AuditLog
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.waiting import until
from e2e.fault_proxy import fault_proxy
from e2e.loopback import ApiServer, api_server
from e2e.operator_process import operator_process
from smart_embedder_operator.render import crd

OPERATOR = "operator"
CHILDREN = "deployments,services,configmaps,hpa,pdb,networkpolicies,serviceaccounts"
OURS = "smart-embedder.io/embedder"
EXPECTED = 8


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with api_server() as server:
        server.kubectl.define(crd())
        yield server


@pytest.fixture
def identity(server: ApiServer) -> Path:
    return server.kubeconfig_for(OPERATOR, "system:masters")


@pytest.fixture
def place(server: ApiServer) -> Iterator[Kubectl]:
    """A namespace of the case's own; what it leaves is deleted for the cases after it."""
    name = f"case-{secrets.token_hex(3)}"
    server.kubectl("create", "namespace", name)
    kubectl = server.kubectl.inside(name)
    yield kubectl
    kubectl("delete", "embedders", "--all", "--wait=false")


def write(kubectl: Kubectl, name: str = "search", **spec: Any) -> None:
    full = {
        "models": {"embedding": "BAAI/bge-m3"},
        "autoscaling": {"mode": "HPA", "minReplicas": 1, "maxReplicas": 3},
    }
    kubectl.apply(
        {
            "apiVersion": "smart-embedder.io/v1alpha1",
            "kind": "Embedder",
            "metadata": {"name": name},
            "spec": full | spec,
        }
    )


def children(kubectl: Kubectl, name: str = "search") -> list[Any]:
    found: list[Any] = kubectl.get(CHILDREN, "-l", f"{OURS}={name}")["items"]
    return found


def complete(kubectl: Kubectl, name: str = "search", seconds: float = 60) -> None:
    until(lambda: len(children(kubectl, name)) == EXPECTED, f"children of {name}", seconds=seconds)


def answers_at(kubectl: Kubectl, port: int) -> bool:
    [only] = kubectl.get("service", "search")["spec"]["ports"]
    return bool(only["port"] == port)


def quiet(audit: AuditLog, seconds: float = 5.0) -> None:
    until(lambda: not audit.writes(OPERATOR, time.time() - seconds), "silence", seconds=90)


@pytest.mark.core
def test_what_is_edited_or_deleted_by_hand_is_restored_and_nothing_else_is_touched(
    server: ApiServer, identity: Path, place: Kubectl
) -> None:
    audit = AuditLog(server.audit_log)
    with operator_process(identity):
        write(place)
        complete(place)
        quiet(audit)
        for child in children(place):
            kind, name = child["kind"].lower(), child["metadata"]["name"]
            began = time.time()
            place("delete", kind, name)
            until(partial(place.find, kind, name), f"{kind} {name}", seconds=10)
            quiet(audit, 3.0)
            written = {write.name for write in audit.writes(OPERATOR, began)}
            assert written <= {name, "search", ""}, f"{kind}: {written}"
        began = time.time()
        place(
            "patch",
            "service",
            "search",
            "-p",
            '{"spec": {"ports": [{"port": 8000, "targetPort": 1}]}}',
        )

        def restored() -> bool:
            [port] = place.get("service", "search")["spec"]["ports"]
            return bool(port["targetPort"] != 1)

        until(restored, "the Service's port", seconds=10)
        place("annotate", "service", "search", "strangers=field")
        quiet(audit)
        assert place.get("service", "search")["metadata"]["annotations"]["strangers"] == "field"


def test_a_list_that_an_edit_made_invalid_is_taken_back_and_is_the_applys_alone(
    server: ApiServer, identity: Path, place: Kubectl
) -> None:
    """An unnamed port beside ours is invalid, so an apply alone would never pass again."""
    audit = AuditLog(server.audit_log)
    with operator_process(identity):
        write(place)
        complete(place)
        edit = '{"spec": {"ports": [{"port": 81, "targetPort": 1}]}}'
        place("patch", "service", "search", "--type=merge", "-p", edit)
        until(lambda: answers_at(place, 8000), "the Service's port", seconds=10)
        quiet(audit)
        shown = place("get", "service", "search", "-o", "json", "--show-managed-fields")
        owners = json.loads(shown)["metadata"]["managedFields"]
        assert ("smart-embedder-operator", "Apply") in {
            (owner["manager"], owner["operation"]) for owner in owners
        }
        assert ("smart-embedder-operator", "Update") not in {
            (owner["manager"], owner["operation"]) for owner in owners
        }
        write(place, service={"port": 9000})
        until(lambda: answers_at(place, 9000), "the new port and no other", seconds=10)


def test_a_steady_state_costs_no_write_and_a_restart_neither(
    server: ApiServer, identity: Path, place: Kubectl
) -> None:
    audit = AuditLog(server.audit_log)
    with operator_process(identity):
        for number in range(5):
            write(place, f"e{number}")
        for number in range(5):
            complete(place, f"e{number}")
        quiet(audit, 10.0)
    began = time.time()
    with operator_process(identity) as operator:
        until(lambda: operator.metric("controller_runtime_reconcile_total") >= 5, "five looks")
        time.sleep(10)
    assert audit.writes(OPERATOR, began) == []


def test_of_two_replicas_one_works_and_the_other_takes_over_when_it_dies(
    identity: Path, place: Kubectl
) -> None:
    with operator_process(identity, "a") as a, operator_process(identity, "b") as b:
        until(lambda: a.leads or b.leads, "a leader")
        leader, other = (a, b) if a.leads else (b, a)
        assert not other.leads
        write(place)
        until(lambda: children(place), "the first child")
        leader.stop(signal.SIGKILL)
        until(lambda: other.leads, "the other to lead", seconds=40)
        complete(place)
        write(place, service={"port": 9000})
        until(lambda: answers_at(place, 9000), "the other to work", seconds=10)


def test_a_leader_that_stops_in_good_order_is_followed_at_once(identity: Path) -> None:
    with operator_process(identity, "a") as a, operator_process(identity, "b") as b:
        until(lambda: a.leads or b.leads, "a leader")
        leader, other = (a, b) if a.leads else (b, a)
        assert leader.stop() == 0
        until(lambda: other.leads, "the other to lead", seconds=5)


def test_an_api_server_that_restarts_under_way_is_waited_for(
    server: ApiServer, identity: Path, place: Kubectl
) -> None:
    with operator_process(identity) as operator:
        until(lambda: operator.leads, "a leader")
        write(place)
        server.kill()
        time.sleep(5)
        assert operator.probe("healthz"), "a restart would not help and so must not be asked for"
        server.start()
        complete(place, seconds=60)
        write(place, service={"port": 9000})
        until(lambda: answers_at(place, 9000), "the watches to be back", seconds=30)


def test_refusals_on_every_third_request_only_slow_the_work(
    identity: Path, place: Kubectl, tmp_path: Path
) -> None:
    with (
        fault_proxy(identity, tmp_path) as proxy,
        operator_process(proxy.kubeconfig) as operator,
    ):
        until(lambda: operator.leads, "a leader")
        proxy.refuse([409, 429, 500, 503], every=3)
        for number in range(3):
            write(place, f"e{number}")
        for number in range(3):
            complete(place, f"e{number}", seconds=180)
        assert proxy.refused > 10
        assert operator.probe("healthz")


def test_watches_that_are_cut_again_and_again_miss_nothing(
    identity: Path, place: Kubectl, tmp_path: Path
) -> None:
    with (
        fault_proxy(identity, tmp_path) as proxy,
        operator_process(proxy.kubeconfig) as operator,
    ):
        write(place)
        complete(place)
        for number in range(5):
            proxy.cut_watches()
            write(place, service={"port": 9000 + number})
            until(partial(answers_at, place, 9000 + number), "the edit", seconds=15)
        assert operator.probe("healthz")


@pytest.mark.timeout(400, func_only=True)
def test_watches_that_fall_silent_are_opened_anew(
    identity: Path, place: Kubectl, tmp_path: Path
) -> None:
    with fault_proxy(identity, tmp_path) as proxy, operator_process(proxy.kubeconfig):
        write(place)
        complete(place)
        time.sleep(3)
        before = proxy.watches
        proxy.silence_watches(silent=True)
        write(place, service={"port": 9000})
        until(lambda: proxy.watches > before, "the watches to be doubted", seconds=120)
        proxy.silence_watches(silent=False)
        until(lambda: answers_at(place, 9000), "the edit", seconds=120)


@pytest.mark.timeout(400, func_only=True)
def test_watches_that_stay_silent_are_what_the_liveness_probe_is_for(
    identity: Path, place: Kubectl, tmp_path: Path
) -> None:
    with (
        fault_proxy(identity, tmp_path) as proxy,
        operator_process(proxy.kubeconfig, resync_seconds="5") as operator,
    ):
        write(place)
        complete(place)
        proxy.silence_watches(silent=True)
        write(place, service={"port": 9000})
        until(lambda: answers_at(place, 9000), "the resync to find the edit", seconds=60)
        until(lambda: not operator.probe("healthz"), "the probe to fail", seconds=240)


def test_deleting_an_embedder_needs_no_operator(identity: Path, place: Kubectl) -> None:
    with operator_process(identity):
        write(place)
        complete(place)
    embedder = place.get("embedder", "search")
    assert "finalizers" not in embedder["metadata"]
    assert all("finalizers" not in child["metadata"] for child in children(place))
    owners = [owner for child in children(place) for owner in child["metadata"]["ownerReferences"]]
    assert {owner["uid"] for owner in owners} == {embedder["metadata"]["uid"]}
    place("delete", "embedder", "search", "--timeout=10s")


def test_a_replica_confined_to_a_namespace_sees_no_other(
    server: ApiServer, identity: Path, place: Kubectl
) -> None:
    server.kubectl("create", "namespace", f"{place.namespace}-2")
    other = server.kubectl.inside(f"{place.namespace}-2")
    with operator_process(identity, watch_namespaces=str(place.namespace)):
        write(other)
        write(place)
        complete(place)
        assert children(other) == []
    other("delete", "embedders", "--all", "--wait=false")
