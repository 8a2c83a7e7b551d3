"""The APIService: there while a replica can serve, and never in the way of anybody else."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from smart_embedder_operator import kinds
from smart_embedder_operator.metrics_api import apiservice
from smart_embedder_operator.metrics_api.apiservice import (
    API_SERVICES,
    CLUSTER_ROLES,
    ApiServiceKeeper,
    Backend,
)

pytestmark = pytest.mark.anyio

NAMES = ["v1beta1.custom.metrics.k8s.io", "v1beta2.custom.metrics.k8s.io"]
SELECTOR = {"app": "operator"}


class Replica:
    """A keeper whose health and clocks a test moves."""

    def __init__(self, kube: Any, name: str = "op-0") -> None:
        self.kube = kube
        self.healthy = True
        self.authorities = "AUTHORITY"
        self.seconds = 0.0
        backend = Backend(
            namespace="ops", service="operator", port=443, pod_name=name, owner="operator"
        )
        self.keeper = ApiServiceKeeper(
            kube,
            backend,
            healthy=lambda: self.healthy,
            authorities=lambda: self.authorities,
            now=lambda: datetime(2026, 11, 20, tzinfo=UTC) + timedelta(seconds=self.seconds),
            clock=lambda: self.seconds,
        )

    async def after(self, seconds: float) -> list[str]:
        self.seconds += seconds
        await self.keeper.check()
        return registered(self.kube)


def registered(kube: Any) -> list[str]:
    return [name for name in NAMES if kube.find(API_SERVICES, name)]


def operator_pod(kube: Any, name: str, *, ready: bool = True, going: bool = False) -> None:
    metadata: dict[str, Any] = {"name": name, "namespace": "ops", "labels": SELECTOR}
    if going:
        metadata["deletionTimestamp"] = "2026-11-20T00:00:00Z"
    status = {"conditions": [{"type": "Ready", "status": str(ready)}]}
    kube.put(kinds.PODS, {"metadata": metadata, "status": status})


@pytest.fixture
def replica(kube: Any) -> Replica:
    kube.put(CLUSTER_ROLES, {"metadata": {"name": "operator"}})
    service = {"metadata": {"name": "operator", "namespace": "ops"}, "spec": {"selector": SELECTOR}}
    kube.put(kinds.SERVICES, service)
    operator_pod(kube, "op-0")
    return Replica(kube)


def becomes(kube: Any, available: str, at: int) -> None:
    """The API server's own opinion of the registration."""
    condition = {
        "type": "Available",
        "status": available,
        "lastTransitionTime": f"2026-11-20T00:00:{at:02}Z",
    }
    for name in registered(kube):
        kube.edit(
            API_SERVICES, name, None, lambda it: it.update(status={"conditions": [condition]})
        )


async def test_both_versions_are_registered_and_hang_on_the_charts_cluster_role(
    kube: Any, replica: Replica
) -> None:
    assert await replica.after(0) == NAMES
    newer = kube.find(API_SERVICES, NAMES[1])
    role = kube.find(CLUSTER_ROLES, "operator")
    assert newer["metadata"]["ownerReferences"][0]["uid"] == role["metadata"]["uid"]
    assert newer["spec"]["service"] == {"namespace": "ops", "name": "operator", "port": 443}
    assert base64.b64decode(newer["spec"]["caBundle"]) == b"AUTHORITY"
    older = kube.find(API_SERVICES, NAMES[0])
    assert newer["spec"]["versionPriority"] > older["spec"]["versionPriority"]


async def test_a_registration_that_is_right_costs_no_write(kube: Any, replica: Replica) -> None:
    await replica.after(0)
    kube.writes.clear()
    await replica.after(5)
    assert kube.writes == []


async def test_a_renewed_authority_and_a_hand_edit_are_put_right(
    kube: Any, replica: Replica
) -> None:
    await replica.after(0)
    replica.authorities = "RENEWED"
    await replica.after(5)
    assert base64.b64decode(kube.find(API_SERVICES, NAMES[0])["spec"]["caBundle"]) == b"RENEWED"
    kube.edit(API_SERVICES, NAMES[0], None, lambda it: it["spec"].update(caBundle=""))
    await replica.after(5)
    assert base64.b64decode(kube.find(API_SERVICES, NAMES[0])["spec"]["caBundle"]) == b"RENEWED"


@pytest.mark.parametrize("name", NAMES)
async def test_another_provider_keeps_the_group(kube: Any, replica: Replica, name: str) -> None:
    theirs = {
        "metadata": {"name": name},
        "spec": {"service": {"namespace": "monitoring", "name": "prometheus-adapter"}},
    }
    kube.put(API_SERVICES, theirs)
    assert await replica.after(0) == [name]
    assert kube.writes == []


async def test_it_is_said_once_that_another_provider_holds_the_group(
    kube: Any, replica: Replica
) -> None:
    kube.put(API_SERVICES, {"metadata": {"name": NAMES[0]}, "spec": {"service": {"name": "x"}}})
    with capture_logs() as said:
        await replica.after(0)
        await replica.after(5)
        kube.remove(API_SERVICES, NAMES[0])
        await replica.after(5)

    assert [line.get("api_services") or line["api_service"] for line in said] == [
        [NAMES[0]],
        *NAMES,
    ]


async def test_we_give_way_to_a_provider_that_comes_later(kube: Any, replica: Replica) -> None:
    await replica.after(0)
    kube.edit(
        API_SERVICES, NAMES[0], None, lambda it: it["spec"].update(service={"name": "adapter"})
    )
    assert await replica.after(5) == [NAMES[0]]


async def test_an_unhealthy_port_is_never_registered(replica: Replica) -> None:
    replica.healthy = False
    assert await replica.after(0) == []


async def test_a_port_that_stops_answering_is_withdrawn_within_a_minute_and_comes_back(
    replica: Replica,
) -> None:
    await replica.after(0)
    replica.healthy = False
    assert await replica.after(5) == NAMES
    assert await replica.after(10) == NAMES
    assert await replica.after(10) == []
    replica.healthy = True
    assert await replica.after(30) == []
    assert await replica.after(60) == NAMES


async def test_a_short_stumble_changes_nothing(replica: Replica) -> None:
    await replica.after(0)
    for _ in range(10):
        replica.healthy = False
        await replica.after(10)
        replica.healthy = True
        assert await replica.after(5) == NAMES


async def test_our_own_port_may_fail_while_another_replica_serves(
    kube: Any, replica: Replica
) -> None:
    await replica.after(0)
    operator_pod(kube, "op-1")
    replica.healthy = False
    await replica.after(5)
    assert await replica.after(100) == NAMES


async def test_what_the_api_server_cannot_reach_is_withdrawn_although_we_feel_well(
    kube: Any, replica: Replica
) -> None:
    await replica.after(0)
    await replica.after(60)
    becomes(kube, "False", at=0)
    replica.seconds = 0.0
    replica.keeper._well_since = -60.0  # open for a minute already
    assert await replica.after(10) == NAMES
    assert await replica.after(5) == []


async def test_a_replica_that_comes_back_is_given_time_to_be_found_again(
    kube: Any, replica: Replica
) -> None:
    await replica.after(0)
    becomes(kube, "False", at=0)
    replica.seconds = 300.0
    successor = Replica(kube)
    successor.seconds = 300.0
    assert await successor.after(0) == NAMES
    assert await successor.after(30) == NAMES
    assert await successor.after(20) == []


async def test_each_withdrawal_waits_longer_until_one_registration_works(
    kube: Any, replica: Replica
) -> None:
    assert replica.keeper._penalty == apiservice.FIRST_PENALTY_SECONDS
    await replica.after(0)
    for _ in range(8):
        await replica.after(1000)
        becomes(kube, "False", at=0)
        assert await replica.after(5) == []
    assert replica.keeper._penalty == apiservice.LAST_PENALTY_SECONDS
    await replica.after(1000)
    becomes(kube, "True", at=0)
    await replica.after(5)
    assert replica.keeper._penalty == apiservice.FIRST_PENALTY_SECONDS


async def test_the_last_replica_that_stops_takes_the_registration_along(
    kube: Any, replica: Replica
) -> None:
    await replica.after(0)
    await replica.keeper.withdraw_if_last()
    assert registered(kube) == []


async def test_a_check_beside_the_last_withdrawal_does_not_bring_it_back(
    replica: Replica,
) -> None:
    await replica.after(0)
    await replica.keeper.withdraw_if_last()
    assert await replica.after(5) == []


async def test_a_replica_that_stops_beside_a_ready_one_leaves_the_registration(
    kube: Any, replica: Replica
) -> None:
    await replica.after(0)
    operator_pod(kube, "op-1")
    await replica.keeper.withdraw_if_last()
    assert registered(kube) == NAMES


@pytest.mark.parametrize("state", [{"ready": False}, {"going": True}])
async def test_replicas_that_stop_together_do_not_count_on_each_other(
    kube: Any, replica: Replica, state: dict[str, bool]
) -> None:
    await replica.after(0)
    operator_pod(kube, "op-1", **state)
    await replica.keeper.withdraw_if_last()
    assert registered(kube) == []


async def test_stopping_leaves_another_providers_registration(kube: Any, replica: Replica) -> None:
    kube.put(API_SERVICES, {"metadata": {"name": NAMES[0]}, "spec": {"service": {"name": "x"}}})
    await replica.keeper.withdraw_if_last()
    assert registered(kube) == [NAMES[0]]
