"""Looks at one Embedder's surroundings: everything `Observed` wants, read afresh.

No cache stands between: a reconcile acts on what is, at the price of a dozen small requests.
Nodes and events are looked at only when something is not well, since only then they matter.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta

from smart_embedder_operator import kinds
from smart_embedder_operator.cluster import Cluster
from smart_embedder_operator.kube import Forbidden, Kube, Manifest, Resource
from smart_embedder_operator.labels import EMBEDDER
from smart_embedder_operator.observed import Observed, PodReport, has_ended

Reports = Callable[[str, str], dict[str, PodReport]]
"""By namespace and Embedder: what its pods say of themselves, by pod name."""

EVENTS_OF = 5  # objects in trouble whose events are read; the others' would say the same
EVENT_AGE = timedelta(hours=1)  # the API server itself keeps them no longer


class Sight:
    """What one look may see, and what it may not."""

    def __init__(self) -> None:
        self._refused: dict[str, str] = {}

    async def of(self, kind: Resource, asked: Awaitable[list[Manifest]]) -> list[Manifest]:
        """Await a list; one that is forbidden is empty, and noted."""
        try:
            return await asked
        except Forbidden as error:
            self._refused[kind.kind] = str(error)
            return []

    @property
    def unseen(self) -> dict[str, str]:
        """The kinds that were refused, in an order of their own: answers come as they like."""
        return dict(sorted(self._refused.items()))


class Observer:
    """Fills `Observed`."""

    def __init__(self, kube: Kube, cluster: Cluster, reports: Reports) -> None:
        self._kube = kube
        self._cluster = cluster
        self._reports = reports

    async def observe(self, embedder: Manifest) -> Observed:
        """Read what there is of an Embedder and around it."""
        namespace, name = embedder["metadata"]["namespace"], embedder["metadata"]["name"]
        now, sight = datetime.now(UTC), Sight()
        objects = await self._children(namespace, name, sight)
        troubled = [obj for obj in objects if is_troubled(obj)]
        return Observed(
            now=now,
            objects=tuple(objects),
            events=tuple(await self._events(namespace, troubled[:EVENTS_OF], now, sight)),
            nodes=await self._cluster.nodes() if troubled else None,
            rivals=tuple(await self._rivals(embedder, sight)),
            reports=self._reports(namespace, name),
            unseen=sight.unseen,
        )

    async def _children(self, namespace: str, name: str, sight: Sight) -> list[Manifest]:
        looked_at = kinds.observed(self._cluster.platform.capabilities)
        labels = f"{EMBEDDER}={name}"
        found = await asyncio.gather(
            *(sight.of(kind, self._kube.list(kind, namespace, labels=labels)) for kind in looked_at)
        )
        return [obj for objects in found for obj in objects]

    async def _events(
        self, namespace: str, troubled: Iterable[Manifest], now: datetime, sight: Sight
    ) -> list[Manifest]:
        def about(obj: Manifest) -> Awaitable[list[Manifest]]:
            fields = f"involvedObject.uid={obj['metadata']['uid']}"
            return sight.of(kinds.EVENTS, self._kube.list(kinds.EVENTS, namespace, fields=fields))

        found = await asyncio.gather(*map(about, troubled))
        events = [event for listed in found for event in listed]
        return sorted((e for e in events if now - happened(e) < EVENT_AGE), key=happened)

    async def _rivals(self, embedder: Manifest, sight: Sight) -> list[Manifest]:
        """Other Embedders with a route matter only to one that has a route itself."""
        if not embedder.get("spec", {}).get("route"):
            return []
        uid = embedder["metadata"]["uid"]
        others = await sight.of(kinds.EMBEDDERS, self._cluster.everywhere(kinds.EMBEDDERS))
        return [
            other
            for other in others
            if other["metadata"]["uid"] != uid and other.get("spec", {}).get("route")
        ]


def is_troubled(obj: Manifest) -> bool:
    """Whether an object is not what it should become: its events and the nodes may say why."""
    status = obj.get("status") or {}
    match obj["kind"]:
        case "Pod":
            conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
            return conditions.get("Ready") != "True" and not has_ended(obj)
        case "PersistentVolumeClaim":
            return bool(status.get("phase") != "Bound")
        case "Job":
            return not (status.get("active") or status.get("succeeded"))
    return False


def happened(event: Manifest) -> datetime:
    """When an event was last seen; the API has three fields for it."""
    series = event.get("series") or {}
    text = (
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"]["creationTimestamp"]
    )
    return datetime.fromisoformat(text)
