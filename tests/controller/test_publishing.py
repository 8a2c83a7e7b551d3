"""Telling people: no status without news, no events without a turn."""

from typing import Any

import pytest

from smart_embedder_operator import kinds, publish
from smart_embedder_operator.heartbeat import Heartbeat
from smart_embedder_operator.publish import Publisher, turns

pytestmark = pytest.mark.anyio

READY = {"type": "Ready", "status": "True", "reason": "Ready", "message": "m"}
STATUS = {"queueDepth": 1, "conditions": [READY]}


@pytest.fixture
def publisher(kube: Any) -> Publisher:
    kube.put(kinds.EMBEDDERS, {"metadata": {"name": "search", "namespace": "ml"}, "spec": {}})
    return Publisher(kube, Heartbeat())


def live(kube: Any) -> Any:
    return kube.find(kinds.EMBEDDERS, "search", "ml")


async def test_a_status_is_written_once(kube: Any, publisher: Publisher) -> None:
    assert await publisher.publish(live(kube), STATUS)
    assert live(kube)["status"] == STATUS
    assert not await publisher.publish(live(kube), STATUS)


async def test_a_status_that_the_server_did_not_take_is_no_change_and_expects_no_event(
    kube: Any, publisher: Publisher
) -> None:
    await publisher.publish(live(kube), STATUS)
    publisher._heartbeat.seen(kinds.EMBEDDERS, "ml")
    read = live(kube)

    async def pruning(*_: Any) -> Any:
        return read  # as an older CRD does with a field that it does not know

    kube.merge_status = pruning
    assert not await publisher.publish(read, STATUS | {"newField": 1})
    assert not publisher._heartbeat._expected_since


async def test_the_queues_length_alone_is_written_now_and_then(
    kube: Any, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publisher.publish(live(kube), STATUS)
    assert not await publisher.publish(live(kube), STATUS | {"queueDepth": 2})
    assert await publisher.publish(live(kube), STATUS | {"queueDepth": 2, "replicas": 3})
    monkeypatch.setattr(publish, "QUEUE_SECONDS", 0.0)
    assert await publisher.publish(live(kube), STATUS | {"queueDepth": 3, "replicas": 3})


def turned(before: dict[str, Any] | None, **after: str) -> list[tuple[str, str]]:
    metadata = {"name": "a", "namespace": "ml", "uid": "1", "resourceVersion": "1"}
    embedder = {"apiVersion": "a/v1", "kind": "Embedder", "metadata": metadata}
    known = [READY | before] if before is not None else []
    return [(event["type"], event["reason"]) for event in turns(embedder, known, [READY | after])]


def test_an_event_tells_a_new_status_or_a_new_reason_and_nothing_else() -> None:
    assert turned({}) == []
    assert turned({}, message="other words") == []
    assert turned({}, status="False", reason="Broken") == [("Warning", "Broken")]
    assert turned({"status": "False", "reason": "Broken"}, reason="Ready") == [("Normal", "Ready")]
    assert turned({"status": "False", "reason": "A"}, status="False", reason="B") == [
        ("Warning", "B")
    ]


def test_a_new_embedder_tells_only_what_is_wrong() -> None:
    assert turned(None) == []
    assert turned(None, status="False", reason="Broken") == [("Warning", "Broken")]


def test_degraded_is_bad_news_when_true() -> None:
    degraded = {"type": "Degraded"}
    assert turned(degraded | {"status": "False"}, **degraded, reason="Bad") == [("Warning", "Bad")]
