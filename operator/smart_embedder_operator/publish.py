"""Tells people: the Embedder's status when it changed, and an Event when a condition turned.

What the status says is computed elsewhere, from live state.
"""

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import structlog

from smart_embedder_operator import kinds
from smart_embedder_operator.heartbeat import Heartbeat
from smart_embedder_operator.kinds import Key
from smart_embedder_operator.kube import Kube, KubeError, Manifest
from smart_embedder_operator.labels import MANAGER

# The queue's length changes all the time under load and calls for no look: as a column for people
# it is as old as the last look, and looks that find nothing else write it no more often than this.
QUEUE_SECONDS = 30.0
_RESTLESS = frozenset({"queueDepth"})

log = structlog.get_logger()


class Publisher:
    """Writes status and events."""

    def __init__(self, kube: Kube, heartbeat: Heartbeat) -> None:
        self._kube = kube
        self._heartbeat = heartbeat
        self._last: dict[Key, float] = {}  # when the status was written

    async def publish(self, embedder: Manifest, status: Manifest) -> bool:
        """Write the status if it says anything new; answer whether it did."""
        metadata = embedder["metadata"]
        key = metadata["namespace"], metadata["name"]
        before = embedder.get("status") or {}
        change = patch(before, status)
        waited = time.monotonic() - self._last.get(key, -QUEUE_SECONDS)
        if not change or (change.keys() <= _RESTLESS and waited < QUEUE_SECONDS):
            return False
        began = self._heartbeat.now()
        kept = await self._kube.merge_status(
            kinds.EMBEDDERS, metadata["name"], metadata["namespace"], change
        )
        self._last[key] = time.monotonic()
        if kept["metadata"]["resourceVersion"] == metadata["resourceVersion"]:
            return False  # an older CRD drops a field that it does not know: nobody tells of that
        self._heartbeat.changed(kinds.EMBEDDERS, metadata["namespace"], began)
        for event in turns(embedder, before.get("conditions") or [], status["conditions"]):
            await self._tell(event)
        return True

    def forget(self, key: Key) -> None:
        """Drop what is remembered of an Embedder that is gone."""
        self._last.pop(key, None)

    async def _tell(self, event: Manifest) -> None:
        try:
            await self._kube.create(kinds.EVENTS, event)
        except KubeError as error:
            # An event is a courtesy: a namespace that is going away takes none, for one.
            log.debug("an event was not taken", reason=event["reason"], error=str(error))


def patch(before: Any, after: Manifest) -> Manifest:
    """The JSON merge patch from one status to another; empty when they are equal."""
    gone = dict.fromkeys(before.keys() - after.keys())
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    nested = {
        key: patch(before[key], value)
        for key, value in changed.items()
        if isinstance(value, dict) and isinstance(before.get(key), dict)
    }
    return gone | changed | nested


def turns(
    embedder: Manifest, before: Iterable[Manifest], after: Iterable[Manifest]
) -> Iterator[Manifest]:
    """An Event for every condition whose status or reason is another than before."""
    known = {condition["type"]: condition for condition in before}
    for condition in after:
        old = known.get(condition["type"])
        if old is None and condition["status"] != "False":
            continue  # a new Embedder starts with news that nobody needs
        if old is None or (old["status"], old["reason"]) != (
            condition["status"],
            condition["reason"],
        ):
            yield _event(embedder, condition)


def _event(embedder: Manifest, condition: Manifest) -> Manifest:
    metadata = embedder["metadata"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # Degraded and Progressing are bad and neutral news when True; the others are good.
    bad = {"Degraded": "True", "Progressing": None}.get(condition["type"], "False")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": embedder["apiVersion"],
            "kind": embedder["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": "Warning" if condition["status"] == bad else "Normal",
        "reason": condition["reason"],
        "message": f"{condition['type']} is {condition['status']}: {condition['message']}"[:1024],
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
