"""Converging: apply what differs, prune what is ours, leave strangers and other scalers alone."""

from datetime import UTC, datetime
from typing import Any

import pytest

from smart_embedder_operator import kinds
from smart_embedder_operator.converge import Converger
from smart_embedder_operator.heartbeat import Heartbeat
from smart_embedder_operator.kube import Forbidden, Invalid, KubeError
from smart_embedder_operator.labels import common
from smart_embedder_operator.observed import Observed
from smart_embedder_operator.platform import Capabilities

pytestmark = pytest.mark.anyio

OWNER = "uid-of-search"
ALL = kinds.observed(Capabilities(scaled_object=True))


def child(resource: Any, name: str = "search", *, owner: str | None = OWNER, **body: Any) -> Any:
    metadata: dict[str, Any] = {"name": name, "namespace": "ml", "labels": common("search")}
    if owner is not None:
        metadata["ownerReferences"] = [{"name": "search", "uid": owner, "controller": True}]
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": metadata,
        **body,
    }


class Steps:
    """Converges again and again on what the cluster holds by then."""

    def __init__(self, kube: Any) -> None:
        self.kube = kube
        self.heartbeat = Heartbeat()
        self.converger = Converger(kube, self.heartbeat)

    async def __call__(
        self, *desired: Any, replicas: dict[str, int] | None = None, patient: bool = True
    ) -> Any:
        selector = "smart-embedder.io/embedder=search"
        objects = [obj for kind in ALL for obj in await self.kube.list(kind, "ml", labels=selector)]
        observed = Observed(now=datetime.now(UTC), objects=tuple(objects))
        return await self.converger.converge(
            desired, replicas or {}, observed, OWNER, patient=patient
        )


@pytest.fixture
def converge(kube: Any) -> Steps:
    return Steps(kube)


SERVICE = child(kinds.SERVICES, spec={"ports": [{"port": 8000}]})
DEPLOYMENT = child(kinds.DEPLOYMENTS, spec={"template": {"spec": {"containers": []}}})


async def test_what_is_missing_is_created_and_the_second_time_costs_no_write(
    kube: Any, converge: Steps
) -> None:
    assert await converge(SERVICE, DEPLOYMENT) == ()
    assert [verb for verb, *_ in kube.writes] == ["apply", "apply"]
    kube.writes.clear()
    assert await converge(SERVICE, DEPLOYMENT) == ()
    assert kube.writes == []


async def test_a_hand_edit_of_our_field_is_undone_and_a_strangers_field_stays(
    kube: Any, converge: Steps
) -> None:
    await converge(SERVICE)
    kube.edit(
        kinds.SERVICES,
        "search",
        "ml",
        lambda obj: obj["spec"].update(ports=[{"port": 9}], sessionAffinity="ClientIP"),
    )
    await converge(SERVICE)
    spec = kube.find(kinds.SERVICES, "search", "ml")["spec"]
    assert spec == {"ports": [{"port": 8000}], "sessionAffinity": "ClientIP"}


async def test_a_field_no_longer_wanted_is_taken_back(kube: Any, converge: Steps) -> None:
    await converge(child(kinds.SERVICES, spec={"ports": [{"port": 1}], "type": "NodePort"}))
    await converge(child(kinds.SERVICES, spec={"ports": [{"port": 1}]}))
    assert "type" not in kube.find(kinds.SERVICES, "search", "ml")["spec"]


async def test_what_is_no_longer_wanted_goes(kube: Any, converge: Steps) -> None:
    await converge(SERVICE, DEPLOYMENT)
    await converge(SERVICE)
    assert kube.find(kinds.DEPLOYMENTS, "search", "ml") is None
    assert kube.find(kinds.SERVICES, "search", "ml") is not None


async def test_a_claim_kept_on_purpose_is_not_pruned(kube: Any, converge: Steps) -> None:
    await converge(child(kinds.VOLUME_CLAIMS, owner=None, spec={}))
    await converge()
    assert kube.find(kinds.VOLUME_CLAIMS, "search", "ml") is not None


async def test_pods_and_replica_sets_belong_to_their_own_controllers(
    kube: Any, converge: Steps
) -> None:
    kube.put(kinds.PODS, child(kinds.PODS))
    kube.put(kinds.REPLICA_SETS, child(kinds.REPLICA_SETS))
    await converge()
    assert kube.writes == []


@pytest.mark.parametrize("labels", [common("search"), {}])
async def test_a_strangers_object_of_the_same_name_is_left_alone_and_reported(
    kube: Any, converge: Steps, labels: dict[str, str]
) -> None:
    theirs = child(kinds.SERVICES, owner="somebody-else", spec={"ports": [{"port": 1}]})
    theirs["metadata"]["labels"] = labels
    kube.put(kinds.SERVICES, theirs)
    (refusal,) = await converge(SERVICE)
    assert (refusal.kind, refusal.name, refusal.code) == ("Service", "search", 409)
    assert kube.writes == []


async def test_our_object_that_lost_its_labels_gets_them_back(kube: Any, converge: Steps) -> None:
    await converge(SERVICE)
    kube.edit(kinds.SERVICES, "search", "ml", lambda obj: obj["metadata"].update(labels={}))
    assert await converge(SERVICE) == ()
    assert kube.find(kinds.SERVICES, "search", "ml")["metadata"]["labels"] == common("search")


async def test_one_refused_object_does_not_keep_the_others_back(kube: Any, converge: Steps) -> None:
    kube.refuse = lambda verb, resource, _: (
        (Forbidden("exceeded quota", status=403) if resource == kinds.SERVICES else None)
        if verb == "apply"
        else None
    )
    (refusal,) = await converge(SERVICE, DEPLOYMENT)
    assert (refusal.kind, refusal.code) == ("Service", 403)
    assert "exceeded quota" in refusal.message
    assert kube.find(kinds.DEPLOYMENTS, "search", "ml") is not None


async def test_what_others_made_invalid_is_taken_back_whole(kube: Any, converge: Steps) -> None:
    await converge(SERVICE)

    def edited(obj: Any) -> None:
        obj["spec"].update(ports=[{"port": 81}], sessionAffinity="ClientIP")

    def refuse(verb: str, *_: Any) -> KubeError | None:
        live = kube.find(kinds.SERVICES, "search", "ml")["spec"]["ports"]
        beside = verb == "apply" and live != SERVICE["spec"]["ports"]
        return Invalid("spec.ports[0].name: Required value", status=422) if beside else None

    kube.edit(kinds.SERVICES, "search", "ml", edited)
    kube.refuse = refuse
    kube.writes.clear()
    assert await converge(SERVICE) == ()
    assert [verb for verb, *_ in kube.writes] == ["merge", "apply", "merge"]
    spec = kube.find(kinds.SERVICES, "search", "ml")["spec"]
    assert spec == {"ports": [{"port": 8000}], "sessionAffinity": "ClientIP"}
    kube.writes.clear()
    assert await converge(SERVICE) == ()
    assert kube.writes == []


async def test_what_a_merge_of_ours_left_owned_is_the_applys_alone_again(
    kube: Any, converge: Steps
) -> None:
    """A reconcile may have been cut off between the two."""
    await converge(child(kinds.SERVICES, spec={"type": "NodePort"}))
    bare = {"metadata": {"name": "search", "namespace": "ml"}}
    await kube.merge(kinds.SERVICES, bare | {"spec": {"type": "LoadBalancer"}})
    await converge(child(kinds.SERVICES, spec={"type": "LoadBalancer"}))
    await converge(child(kinds.SERVICES, spec={"ports": []}))
    assert kube.find(kinds.SERVICES, "search", "ml")["spec"] == {"ports": []}


async def test_what_is_invalid_by_itself_is_reported(kube: Any, converge: Steps) -> None:
    await converge(SERVICE)
    kube.edit(kinds.SERVICES, "search", "ml", lambda obj: obj["spec"].update(ports=[]))
    kube.refuse = lambda verb, *_: (
        Invalid("no such thing", status=422) if verb in ("apply", "merge") else None
    )
    (refusal,) = await converge(SERVICE)
    assert (refusal.code, refusal.message) == (422, "no such thing")


async def test_a_passing_failure_ends_the_step_for_another_try(kube: Any, converge: Steps) -> None:
    kube.refuse = lambda verb, *_: KubeError("busy", status=429) if verb == "apply" else None
    with pytest.raises(KubeError, match="busy"):
        await converge(SERVICE)


async def test_without_patience_a_failure_is_reported_and_keeps_no_other_back(
    kube: Any, converge: Steps
) -> None:
    await converge(child(kinds.CONFIG_MAPS))
    kube.refuse = lambda verb, resource, _: (
        KubeError("failed calling webhook", status=500)
        if (verb, resource) == ("apply", kinds.NETWORK_POLICIES) or verb == "delete"
        else None
    )
    refusals = await converge(child(kinds.NETWORK_POLICIES), DEPLOYMENT, patient=False)
    assert [(one.kind, one.code) for one in refusals] == [
        ("NetworkPolicy", 500),
        ("ConfigMap", 500),
    ]
    assert kube.find(kinds.DEPLOYMENTS, "search", "ml")


async def test_a_track_keeps_its_pods_while_the_service_cannot_leave_it(
    kube: Any, converge: Steps
) -> None:
    gone = child(kinds.DEPLOYMENTS, "search-gone", spec={})
    await converge(SERVICE, gone, DEPLOYMENT, replicas={"search": 5})
    kube.refuse = lambda verb, resource, _: (
        Forbidden("a policy", status=403) if (verb, resource) == ("apply", kinds.SERVICES) else None
    )
    moved = child(kinds.SERVICES, spec={"ports": [{"port": 9000}]})
    (refusal,) = await converge(moved, DEPLOYMENT, replicas={"search": 0})
    assert refusal.kind == "Service"
    assert kube.find(kinds.DEPLOYMENTS, "search-gone", "ml")
    assert kube.find(kinds.DEPLOYMENTS, "search", "ml")["spec"]["replicas"] == 5


async def test_the_number_of_pods_is_said_apart_and_letting_go_of_it_changes_nothing(
    kube: Any, converge: Steps
) -> None:
    await converge(DEPLOYMENT, replicas={"search": 5})
    assert kube.find(kinds.DEPLOYMENTS, "search", "ml")["spec"]["replicas"] == 5
    versions = []
    kube.watchers.append(lambda _, __, obj: versions.append(obj["spec"]["replicas"]))
    changed = child(kinds.DEPLOYMENTS, spec={"template": {"spec": {"hostname": "new"}}})
    await converge(changed)
    assert versions == [5]


async def test_an_autoscalers_number_is_never_touched(kube: Any, converge: Steps) -> None:
    await converge(DEPLOYMENT)
    kube.edit(kinds.DEPLOYMENTS, "search", "ml", lambda obj: obj["spec"].update(replicas=7), "hpa")
    kube.writes.clear()
    await converge(DEPLOYMENT)
    assert kube.writes == []
    assert kube.find(kinds.DEPLOYMENTS, "search", "ml")["spec"]["replicas"] == 7


async def test_the_old_scaler_goes_before_the_new_one_comes(kube: Any, converge: Steps) -> None:
    await converge(DEPLOYMENT, child(kinds.AUTOSCALERS, spec={}))
    kube.writes.clear()
    await converge(DEPLOYMENT, child(kinds.SCALED_OBJECTS, spec={}))
    assert [(verb, kind) for verb, kind, _ in kube.writes] == [
        ("delete", "HorizontalPodAutoscaler"),
        ("apply", "ScaledObject"),
    ]


async def test_an_object_on_its_way_out_is_not_written_to(kube: Any, converge: Steps) -> None:
    going = child(kinds.SERVICES, spec={})
    going["metadata"]["deletionTimestamp"] = "2026-11-20T00:00:00Z"
    kube.put(kinds.SERVICES, going)
    await converge(SERVICE)
    await converge()
    assert kube.writes == []


async def test_a_difference_that_an_apply_does_not_remove_is_applied_once_only(
    kube: Any, converge: Steps
) -> None:
    """A spelling of the API server's that we do not know must not cost a write at every look."""
    await converge(SERVICE)
    respelt = lambda obj: obj["spec"].update(ports=[{"port": "respelt"}])  # noqa: E731
    kube.edit(kinds.SERVICES, "search", "ml", respelt)
    settled = kube.find(kinds.SERVICES, "search", "ml")

    async def respelling(*_: Any, **__: Any) -> Any:
        kube.writes.append(("apply", "Service", "search"))
        return settled

    kube.apply = respelling
    kube.writes.clear()
    await converge(SERVICE)
    await converge(SERVICE)
    assert kube.writes == [("apply", "Service", "search")]


async def test_every_change_expects_an_event(converge: Steps) -> None:
    await converge(SERVICE)
    assert set(converge.heartbeat._expected_since) == {(kinds.SERVICES, "")}
    converge.heartbeat.seen(kinds.SERVICES, "ml")
    await converge(SERVICE)
    assert not converge.heartbeat._expected_since


async def test_a_deletion_expects_none_since_a_list_would_not_show_it(converge: Steps) -> None:
    await converge(SERVICE)
    converge.heartbeat.seen(kinds.SERVICES, "ml")
    await converge()
    assert not converge.heartbeat._expected_since


async def test_a_deletion_that_a_policy_forbids_is_told_and_stops_nothing_else(
    kube: Any, converge: Steps
) -> None:
    await converge(SERVICE)
    kube.refuse = lambda verb, *_: Forbidden("kept", status=403) if verb == "delete" else None
    (refusal,) = await converge(DEPLOYMENT)
    assert (refusal.kind, refusal.name, refusal.code) == ("Service", "search", 403)
    assert kube.find(kinds.DEPLOYMENTS, "search", "ml")


async def test_no_second_autoscaler_comes_while_the_first_may_not_go(
    kube: Any, converge: Steps
) -> None:
    await converge(child(kinds.AUTOSCALERS))
    kube.refuse = lambda verb, *_: Forbidden("kept", status=403) if verb == "delete" else None
    (refusal,) = await converge(child(kinds.SCALED_OBJECTS))
    assert refusal.kind == "HorizontalPodAutoscaler"
    assert kube.find(kinds.SCALED_OBJECTS, "search", "ml") is None


async def test_a_refused_object_may_be_taken_later(kube: Any, converge: Steps) -> None:
    kube.faults.extend([None] * len(ALL) + [None, Invalid("no", status=422)])
    (refusal,) = await converge(SERVICE)
    assert refusal.code == 422
    assert await converge(SERVICE) == ()
