"""What is true of the whole cluster, asked now and then instead of at every reconcile.

Which optional kinds it serves, and what its nodes have. An install confined to some namespaces
may not see nodes; that is remembered, not asked again and again.
"""

import asyncio
import time
from collections import Counter

import msgspec

from smart_embedder_operator import kinds
from smart_embedder_operator.kube import Forbidden, Kube, KubeError, Manifest, Resource
from smart_embedder_operator.metrics_api.answers import GROUP, VERSIONS
from smart_embedder_operator.observed import Nodes
from smart_embedder_operator.platform import Capabilities, Platform

NODES_SECONDS = 5.0  # how old the view of the nodes may be; a second look comes after 6 s
OPEN_SHIFT = ("security.openshift.io", "v1", "SecurityContextConstraints")


class Cluster:
    """The cluster's facts, and the platform that follows from them."""

    def __init__(self, kube: Kube, platform: Platform, namespaces: tuple[str, ...]) -> None:
        """`namespaces` are those we are confined to; none means the whole cluster."""
        self._kube = kube
        self._namespaces = namespaces
        self._nodes: Nodes | None = None
        self._nodes_told: Nodes | None = None
        self._nodes_until = 0.0
        self._lock = asyncio.Lock()
        self.platform = platform

    async def refresh(self) -> bool:
        """Look at what the cluster can do; say whether that has changed."""
        found = Capabilities(
            service_monitor=await self._serves(kinds.SERVICE_MONITORS),
            prometheus_rule=await self._serves(kinds.PROMETHEUS_RULES),
            scaled_object=await self._serves(kinds.SCALED_OBJECTS),
            http_route=await self._serves(kinds.HTTP_ROUTES),
            custom_metrics=await self._answers_metrics(),
            open_shift=OPEN_SHIFT[2] in await self._kube.kinds(*OPEN_SHIFT[:2]),
        )
        changed = found != self.platform.capabilities
        self.platform = msgspec.structs.replace(self.platform, capabilities=found)
        return changed

    async def everywhere(self, resource: Resource, *, labels: str = "") -> list[Manifest]:
        """All objects of a kind in the namespaces we work in."""
        if not self._namespaces:
            return await self._kube.list(resource, labels=labels)
        lists = [
            await self._kube.list(resource, place, labels=labels) for place in self._namespaces
        ]
        return [item for found in lists for item in found]

    async def nodes(self) -> Nodes | None:
        """The nodes in sum; None where we have no right to see them."""
        async with self._lock:
            if time.monotonic() > self._nodes_until:
                try:
                    self._nodes = summed(await self._kube.list(kinds.NODES))
                except Forbidden:
                    self._nodes = None
                self._nodes_until = time.monotonic() + NODES_SECONDS
            return self._nodes

    async def nodes_changed(self) -> bool:
        """Look at the nodes; say whether they are others than when this was asked last."""
        before, self._nodes_told = self._nodes_told, await self.nodes()
        return self._nodes_told != before

    async def _serves(self, resource: Resource) -> bool:
        return resource.kind in await self._kube.kinds(resource.group, resource.version)

    async def _answers_metrics(self) -> bool:
        """Whether anybody behind the aggregation layer answers for custom metrics."""
        for version in VERSIONS:
            try:
                if await self._kube.kinds(GROUP, version):
                    return True
            except KubeError:
                continue  # registered, and dead
        return False


def summed(nodes: list[Manifest]) -> Nodes:
    """The nodes' extended resources together, and which nodes are ready."""
    allocatable: Counter[str] = Counter()
    ready: set[str] = set()
    lost: set[str] = set()
    for node in nodes:
        name, status = node["metadata"]["name"], node.get("status", {})
        conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
        (ready if conditions.get("Ready") == "True" else lost).add(name)
        for resource, amount in status.get("allocatable", {}).items():
            if "/" in resource and amount.isdigit():
                allocatable[resource] += int(amount)
    return Nodes(allocatable=dict(allocatable), ready=frozenset(ready), lost=frozenset(lost))
