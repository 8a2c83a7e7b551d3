"""One replica at a time does the work: leader election on a Lease of our own.

The rules are client-go's: a Lease is another's until it has not changed for its whole duration
by our own clock; a leader that could not renew within its deadline stops before that; one that
stops in good order gives the Lease back, so that the next starts at once. What the leader does
is somebody else's affair.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

from smart_embedder_operator.kube import Conflict, Kube, KubeError, Manifest, NotFound, Resource
from smart_embedder_operator.ownership import new_metadata

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")

# client-go's own figures, which every controller of the control plane uses.
LEASE_SECONDS = 15.0
RENEW_DEADLINE_SECONDS = 10.0
RETRY_SECONDS = 2.0

log = structlog.get_logger()


class Elector:
    """Campaigns for the Lease and runs the leader's work while it is held."""

    def __init__(
        self,
        kube: Kube,
        *,
        namespace: str,
        name: str,
        identity: str,
        deployment: str | None = None,
        retry_seconds: float = RETRY_SECONDS,
        renew_deadline_seconds: float = RENEW_DEADLINE_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._deployment = deployment
        self._retry = retry_seconds
        self._deadline = renew_deadline_seconds
        self._duration = lease_seconds
        self._lease: Manifest = {}
        self._seen_since = 0.0
        self._held_since = 0.0
        """When the last write that kept the Lease was sent: others may count from then."""
        self.leading = False

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Campaign, lead, and campaign again, until cancelled; `lead` is cancelled on a loss."""
        try:
            while True:
                await self._campaign()
                await self._hold(lead)
        finally:
            await asyncio.shield(self._release())

    async def _campaign(self) -> None:
        while True:
            if await self._acquired():
                break
            await asyncio.sleep(self._retry)
        self.leading = True
        log.info("leading", identity=self._identity)

    async def _hold(self, lead: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                work = tasks.create_task(_awaited(lead()), name="leader")
                await self._renew_until_lost()
                log.warning("leadership lost", identity=self._identity)
                work.cancel()
        finally:
            self.leading = False

    async def _renew_until_lost(self) -> None:
        while self._left() > 0:
            await asyncio.sleep(self._retry)
            try:
                async with asyncio.timeout(self._left()):
                    if not await self._renewed():
                        return
            except NotFound:
                return  # somebody took it away: whoever makes it anew leads
            except (KubeError, TimeoutError) as error:
                log.warning("the lease could not be renewed", error=str(error))

    def _left(self) -> float:
        """Seconds in which the Lease must be renewed."""
        return self._held_since + self._deadline - time.monotonic()

    async def _renewed(self) -> bool:
        """Renew; False when another replica has the Lease now."""
        try:
            await self._write(self._lease)
        except Conflict:
            # Another leader, or only somebody's edit: the holder's name tells.
            self._lease = await self._kube.get(LEASES, self._name, self._namespace)
            if self._lease["spec"].get("holderIdentity") != self._identity:
                return False
            await self._write(self._lease)
        return True

    async def _acquired(self) -> bool:
        try:
            found = await self._kube.get(LEASES, self._name, self._namespace)
        except NotFound:
            found = {}
        except KubeError as error:
            log.warning("the lease could not be read", error=str(error))
            return False
        if _record(found) != _record(self._lease):
            self._lease, self._seen_since = found, time.monotonic()
        holder = found.get("spec", {}).get("holderIdentity")
        expired = time.monotonic() - self._seen_since > self._duration
        if holder and holder != self._identity and not expired:
            return False
        try:
            await self._write(found)
        except Conflict as error:
            log.info("another replica was faster", error=str(error))
            return False
        except KubeError as error:
            log.warning("the lease could not be written", error=str(error))
            return False
        return True

    async def _write(self, previous: Manifest) -> None:
        """Put our name and the time on the Lease; `Conflict` when it changed since we read it."""
        spec = previous.get("spec", {})
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = spec.get("holderIdentity") == self._identity
        lease: Manifest = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": previous.get("metadata") or await self._new_metadata(),
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": round(self._duration),
                "acquireTime": spec.get("acquireTime", now) if ours else now,
                "renewTime": now,
                "leaseTransitions": spec.get("leaseTransitions", 0) + (not ours),
            },
        }
        send = self._kube.replace if previous else self._kube.create
        sent = time.monotonic()
        self._lease = await send(LEASES, lease)
        self._held_since = sent

    async def _new_metadata(self) -> Manifest:
        return await new_metadata(self._kube, self._name, self._namespace, self._deployment)

    async def _release(self) -> None:
        if self._lease.get("spec", {}).get("holderIdentity") != self._identity:
            return
        given_back = self._lease["spec"] | {"holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._kube.replace(LEASES, self._lease | {"spec": given_back})
        except KubeError as error:
            log.warning("the lease could not be given back", error=str(error))


def _record(lease: Manifest) -> tuple[object, ...]:
    spec = lease.get("spec", {})
    return spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions")


async def _awaited(work: Awaitable[None]) -> None:
    await work
