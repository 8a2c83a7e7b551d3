"""Keeps the cluster's APIService for custom metrics true: there while we can serve, gone else.

An APIService whose backend does not answer blocks the deletion of every namespace in the
cluster, so registering is the careful half of the work: only when no other provider holds the
group, only while a replica answers, and never past the last replica.
"""

import asyncio
import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from smart_embedder_operator import kinds
from smart_embedder_operator.drift import differs, stamped
from smart_embedder_operator.kube import Kube, KubeError, Manifest, NotFound, Resource
from smart_embedder_operator.labels import MANAGED_BY, MANAGER
from smart_embedder_operator.metrics_api.answers import GROUP, VERSIONS
from smart_embedder_operator.metrics_api.certificates import utc_now

API_SERVICES = Resource(
    "apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False
)
CLUSTER_ROLES = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False
)

CHECK_SECONDS = 5.0
# The API server looks at a backend every 30 s and waits 5 s for it; with these two a dead one is
# gone in 60 s. Of one that is ill it looks again within seconds, so ten of them are several looks.
UNHEALTHY_SECONDS = 15.0
UNAVAILABLE_SECONDS = 10.0
# What it says of a port that has just opened is old news until it has looked again.
OPENED_SECONDS = 45.0
# After a withdrawal the port is given time to be mended, longer each time.
FIRST_PENALTY_SECONDS = 60.0
LAST_PENALTY_SECONDS = 600.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The Service that leads to us, and what owns the registration."""

    namespace: str
    service: str
    port: int
    pod_name: str
    """This replica."""
    owner: str | None
    """The chart's ClusterRole: uninstalling it removes the APIService with it."""


class ApiServiceKeeper:
    """Registers and withdraws `custom.metrics.k8s.io`."""

    def __init__(
        self,
        kube: Kube,
        backend: Backend,
        *,
        healthy: Callable[[], bool],
        authorities: Callable[[], str],
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`healthy` says whether our own port answers, `authorities` what clients should trust."""
        self._kube = kube
        self._backend = backend
        self._healthy = healthy
        self._authorities = authorities
        self._now = now
        self._clock = clock
        self._ill_since: float | None = None
        self._well_since: float | None = None
        self._not_before = 0.0
        self._penalty = FIRST_PENALTY_SECONDS
        self._is_out = False
        self._is_leaving = False

    async def run(self) -> None:
        """Check every few seconds until cancelled; the leader's task."""
        while True:
            try:
                await self.check()
            except KubeError as error:
                log.warning("the APIService could not be kept", error=str(error))
            await asyncio.sleep(CHECK_SECONDS)

    async def check(self) -> None:
        """Bring the registration in line with what is true now."""
        self._note_health()
        found = await self._registered()
        ours = [service for service in found if self._is_ours(service)]
        self._note_rivals([service for service in found if service not in ours])
        if self._is_out:
            await self._remove(ours)
            return
        if ours and await self._must_withdraw(ours):
            log.warning("the metrics API cannot be reached: withdrawing it")
            await self._remove(ours)
            self._not_before = self._clock() + self._penalty
            self._penalty = min(2 * self._penalty, LAST_PENALTY_SECONDS)
        elif self._healthy() and self._clock() >= self._not_before:
            await self._register(found)

    async def withdraw_if_last(self) -> None:
        """Take the registration away unless another replica goes on serving; when we stop.

        A check may be under way beside it, and must not bring back what is taken away here.
        """
        self._is_leaving = True
        if not await self._others_serve():
            await self._remove([s for s in await self._registered() if self._is_ours(s)])

    async def _registered(self) -> list[Manifest]:
        found = []
        for version in VERSIONS:
            try:
                found.append(await self._kube.get(API_SERVICES, f"{version}.{GROUP}"))
            except NotFound:
                continue
        return found

    def _is_ours(self, service: Manifest) -> bool:
        target = service["spec"].get("service") or {}
        return (service["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER and (
            target.get("namespace"),
            target.get("name"),
        ) == (self._backend.namespace, self._backend.service)

    async def _must_withdraw(self, ours: list[Manifest]) -> bool:
        unavailable = max(self._unavailable_seconds(service) for service in ours)
        if unavailable > UNAVAILABLE_SECONDS and not self._has_just_opened():
            return True
        if self._healthy() or await self._others_serve():
            self._ill_since = None
            return False
        if self._ill_since is None:
            self._ill_since = self._clock()
        return self._clock() - self._ill_since >= UNHEALTHY_SECONDS

    def _note_rivals(self, others: list[Manifest]) -> None:
        """Say it once that another provider holds the group, for whoever expects us to."""
        if others and not self._is_out:
            names = [service["metadata"]["name"] for service in others]
            log.info("another provider holds the group: staying out", api_services=names)
        self._is_out = bool(others)

    def _note_health(self) -> None:
        if not self._healthy():
            self._well_since = None
        elif self._well_since is None:
            self._well_since = self._clock()

    def _has_just_opened(self) -> bool:
        since = self._well_since
        return since is not None and self._clock() - since < OPENED_SECONDS

    def _unavailable_seconds(self, service: Manifest) -> float:
        """How long the API server has found no answer behind it."""
        for condition in service.get("status", {}).get("conditions", []):
            if condition["type"] == "Available" and condition["status"] == "False":
                since = datetime.fromisoformat(condition["lastTransitionTime"])
                return (self._now() - since).total_seconds()
            if condition["type"] == "Available" and condition["status"] == "True":
                self._penalty = FIRST_PENALTY_SECONDS
        return 0.0

    async def _others_serve(self) -> bool:
        """Whether another replica behind the Service is ready and not about to stop.

        Pods say so at once, where endpoints lag behind: two replicas that stop together must
        not each count on the other.
        """
        place = self._backend.namespace
        try:
            service = await self._kube.get(kinds.SERVICES, self._backend.service, place)
        except NotFound:
            return False
        selector = service["spec"].get("selector") or {}
        labels = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
        pods = await self._kube.list(kinds.PODS, place, labels=labels)
        return any(
            _is_serving(pod) for pod in pods if pod["metadata"]["name"] != self._backend.pod_name
        )

    async def _register(self, found: list[Manifest]) -> None:
        live = {service["metadata"]["name"]: service for service in found}
        owners = await self._owners()
        for priority, version in enumerate(reversed(VERSIONS), start=1):
            wanted = stamped(self._wanted(version, priority, owners))
            there = live.get(wanted["metadata"]["name"], {})
            if differs(wanted, there) and not self._is_leaving:
                await self._kube.apply(API_SERVICES, wanted)
                log.info("registered", api_service=wanted["metadata"]["name"])

    async def _owners(self) -> list[Manifest]:
        if self._backend.owner is None:
            return []
        role = await self._kube.get(CLUSTER_ROLES, self._backend.owner)
        return [
            {
                "apiVersion": CLUSTER_ROLES.api_version,
                "kind": CLUSTER_ROLES.kind,
                "name": self._backend.owner,
                "uid": role["metadata"]["uid"],
            }
        ]

    def _wanted(self, version: str, priority: int, owners: list[Manifest]) -> Manifest:
        backend = self._backend
        return {
            "apiVersion": API_SERVICES.api_version,
            "kind": API_SERVICES.kind,
            "metadata": {
                "name": f"{version}.{GROUP}",
                "labels": {MANAGED_BY: MANAGER, "app.kubernetes.io/name": "smart-embedder"},
                "ownerReferences": owners,
            },
            "spec": {
                "group": GROUP,
                "version": version,
                "groupPriorityMinimum": 100,
                "versionPriority": 100 * priority,
                "caBundle": base64.b64encode(self._authorities().encode()).decode(),
                "service": {
                    "namespace": backend.namespace,
                    "name": backend.service,
                    "port": backend.port,
                },
            },
        }

    async def _remove(self, services: list[Manifest]) -> None:
        for service in services:
            metadata = service["metadata"]
            try:
                await self._kube.delete(API_SERVICES, metadata["name"], uid=metadata["uid"])
                log.info("withdrawn", api_service=metadata["name"])
            except NotFound:
                continue


def _is_serving(pod: Manifest) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]
