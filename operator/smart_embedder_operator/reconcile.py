"""One reconcile: look, decide, converge, tell. Level-triggered, so it asks never what happened.

The four steps are files of their own; here is only their order, and how soon to look again.
"""

import random
import time
from collections.abc import Callable

import msgspec

from smart_embedder_operator import conditions, kinds
from smart_embedder_operator.cluster import Cluster
from smart_embedder_operator.converge import Converger
from smart_embedder_operator.decision import decide
from smart_embedder_operator.kinds import Key
from smart_embedder_operator.kube import Forbidden, Kube, KubeError, Manifest, NotFound
from smart_embedder_operator.observe import Observer
from smart_embedder_operator.observed import Observed
from smart_embedder_operator.publish import Publisher
from smart_embedder_operator.telemetry import Telemetry
from smart_embedder_operator.workqueue import TryAgain

# Most faults and cures arrive as events. What only time brings (a pod pending for too long) is
# found by looking again: after 8 and 28 s, since `rollout` waits 15 s for a GPU, then ever rarer.
FIRST_LOOK_SECONDS = 8.0
LOOK_GROWTH = 2.5

# A failure is no news before: an API server that is swamped, or a webhook that is starting again,
# fails at every try of a second, and is back by then.
FAILING_SECONDS = 5.0


class Reconciler:
    """The work behind the queue's keys."""

    def __init__(
        self,
        *,
        kube: Kube,
        cluster: Cluster,
        observer: Observer,
        converger: Converger,
        publisher: Publisher,
        telemetry: Telemetry,
        resync_seconds: float,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._cluster = cluster
        self._observer = observer
        self._converger = converger
        self._publisher = publisher
        self._telemetry = telemetry
        self._resync = resync_seconds
        self._jitter = jitter
        self._clock = clock
        self._pauses: dict[Key, float] = {}
        self._failing_since: dict[Key, float] = {}  # without a look between that went well
        self.troubled: set[Key] = set()
        """Embedders that were not well at the last look: a change of the nodes may concern them."""

    async def reconcile(self, key: Key) -> float | None:
        """Bring one Embedder in line; answer in how many seconds to look again, None for never."""
        try:
            return await self._reconcile(key)
        except KubeError as error:
            self._failing_since.setdefault(key, self._clock())
            raise TryAgain(str(error), error.retry_after) from error

    async def _reconcile(self, key: Key) -> float | None:
        namespace, name = key
        try:
            embedder = await self._kube.get(kinds.EMBEDDERS, name, namespace)
        except NotFound:
            self._forget(key)
            return None
        if "deletionTimestamp" in embedder["metadata"]:
            return None  # owner references take the children along
        changed = await self._bring_in_line(embedder)
        return self._next_look(key, changed=changed)

    async def _bring_in_line(self, embedder: Manifest) -> bool:
        metadata = embedder["metadata"]
        key = metadata["namespace"], metadata["name"]
        patient = self._is_patient(key)
        observed = await self._observer.observe(embedder)
        if observed.unseen and patient:
            # An API server that has just started refuses for a moment what its roles allow.
            raise Forbidden("; ".join(observed.unseen.values()), status=403)
        self._note_trouble(key, observed)
        decision = decide(embedder, self._cluster.platform, observed)
        if decision.objects is not None:
            refusals = await self._converger.converge(
                decision.objects, decision.replicas, observed, metadata["uid"], patient=patient
            )
            observed = msgspec.structs.replace(observed, refusals=refusals)
        refused = (*observed.unseen.values(), *(one.message for one in observed.refusals))
        if patient or not refused:
            self._failing_since.pop(key, None)
        status = conditions.evaluate(decision, observed)
        changed = await self._publisher.publish(embedder, status)
        self._show(embedder, status)
        if refused:
            raise TryAgain("; ".join(refused))
        return changed

    def _is_patient(self, key: Key) -> bool:
        since = self._failing_since.get(key)
        return since is None or self._clock() - since < FAILING_SECONDS

    def _show(self, embedder: Manifest, status: Manifest) -> None:
        key = embedder["metadata"]["namespace"], embedder["metadata"]["name"]
        self._telemetry.conditions(*key, status["conditions"])
        most = embedder["spec"].get("autoscaling", {}).get("maxReplicas")
        self._telemetry.replicas(*key, status, most)

    def _next_look(self, key: Key, *, changed: bool) -> float:
        pause = FIRST_LOOK_SECONDS
        if not changed and key in self._pauses:
            pause = min(LOOK_GROWTH * self._pauses[key], self._resync)
        self._pauses[key] = pause
        return pause * (0.75 + self._jitter() / 2)

    def _note_trouble(self, key: Key, observed: Observed) -> None:
        """The observer looks at nodes only where something is not well."""
        if observed.nodes is not None:
            self.troubled.add(key)
        else:
            self.troubled.discard(key)

    def retire(self) -> None:
        """Another replica leads: what was seen here is no news to anybody any more."""
        self._pauses.clear()
        self._failing_since.clear()
        self.troubled.clear()
        self._telemetry.retire()

    def _forget(self, key: Key) -> None:
        self._pauses.pop(key, None)
        self._failing_since.pop(key, None)
        self.troubled.discard(key)
        self._publisher.forget(key)
        self._telemetry.forget(*key)
