"""Keeps the watches running and turns what they tell into work.

kopf watches in a thread of its own (`handlers` says why); here its events cross into our event
loop, its end is noticed and it is started again. Which Embedder an event concerns is decided
here; what is done about it is not.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Protocol

import msgspec
import structlog

from smart_embedder_operator import handlers, kinds
from smart_embedder_operator.credentials import Credentials
from smart_embedder_operator.heartbeat import Heartbeat
from smart_embedder_operator.kinds import Key
from smart_embedder_operator.kube import Manifest, Resource
from smart_embedder_operator.labels import EMBEDDER, MANAGED_BY, MANAGER
from smart_embedder_operator.metrics_api.pods import PodTable
from smart_embedder_operator.rivals import Rivals

FIRST_RESTART_SECONDS = 1.0
LAST_RESTART_SECONDS = 30.0

OURS = f"{MANAGED_BY}={MANAGER}"

log = structlog.get_logger()


class WatchesEnded(Exception):
    """Something out of the framework's depths ended the watches."""


Place = tuple[str, str, str]
"""Kind, namespace and name of an object."""

# What changes all the time and calls for no look: our own status, and the numbers an autoscaler
# read. Without this every status we write would be looked at once more.
_NOISE = {kinds.EMBEDDERS: {"status"}, kinds.AUTOSCALERS: {"currentMetrics", "lastScaleTime"}}


class Add(Protocol):
    """Puts a key on the queue; what a list shows may wait for what has changed."""

    def __call__(self, key: Key, *, urgent: bool) -> None: ...


class Dispatcher:
    """From an event to the key of the Embedder it concerns."""

    def __init__(self, add: Add, pods: PodTable, heartbeat: Heartbeat) -> None:
        self._add = add
        self._pods = pods
        self._heartbeat = heartbeat
        self._rivals = Rivals()
        self._owners: dict[Place, Key] = {}
        self._seen: dict[Place, int] = {}

    def event(self, resource: Resource, change: str | None, obj: Manifest) -> None:
        """Take one event; called in our own event loop."""
        self._heartbeat.seen(resource, obj["metadata"]["namespace"])
        if resource == kinds.PODS:
            (self._pods.remove if change == "DELETED" else self._pods.update)(obj)
        key = self._key(resource, change, obj)
        if key is not None and self._is_news(resource, change, obj):
            self._add(key, urgent=change is not None)
        if key is not None and resource == kinds.EMBEDDERS:
            route = None if change == "DELETED" else (obj.get("spec") or {}).get("route")
            for rival in self._rivals.note(key, route):
                self._add(rival, urgent=True)

    def _key(self, resource: Resource, change: str | None, obj: Manifest) -> Key | None:
        metadata = obj["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        if resource == kinds.EMBEDDERS:
            return namespace, name
        if resource == kinds.EVENTS:
            about = obj.get("involvedObject") or {}
            return self._owners.get((about.get("kind", ""), namespace, about.get("name", "")))
        embedder = (metadata.get("labels") or {}).get(EMBEDDER)
        if embedder is None:
            return None
        key = namespace, embedder
        if change == "DELETED":
            self._owners.pop((resource.kind, namespace, name), None)
        elif resource in {kinds.PODS, kinds.VOLUME_CLAIMS}:
            # The children whose trouble shows in events about them, and nowhere else.
            self._owners[resource.kind, namespace, name] = key
        return key

    def _is_news(self, resource: Resource, change: str | None, obj: Manifest) -> bool:
        """Whether more than noise has changed; a list after a broken watch is always news."""
        if resource not in _NOISE:
            return True
        place = resource.kind, obj["metadata"]["namespace"], obj["metadata"]["name"]
        before = self._seen.pop(place, None)
        if change == "DELETED":
            return True
        self._seen[place] = now = _essence(obj, _NOISE[resource])
        return change is None or before != now


def _essence(obj: Manifest, noise: set[str]) -> int:
    metadata = {
        key: value
        for key, value in obj["metadata"].items()
        if key not in {"resourceVersion", "managedFields"}
    }
    rest = {key: value for key, value in obj.items() if key not in noise} | {"metadata": metadata}
    if status := rest.get("status"):
        rest["status"] = {key: value for key, value in status.items() if key not in noise}
    return hash(msgspec.json.encode(rest))


class Watcher:
    """Runs the watches until cancelled, whatever happens to them."""

    def __init__(
        self,
        credentials: Credentials,
        namespaces: tuple[str, ...],
        dispatcher: Dispatcher,
        *,
        when_blind: Callable[[], Awaitable[None]],
    ) -> None:
        """`when_blind` is called whenever the watches have ended, to look without them."""
        self._credentials = credentials
        self._namespaces = namespaces
        self._dispatcher = dispatcher
        self._when_blind = when_blind
        self._kinds: tuple[Resource, ...] = ()
        self._told = asyncio.Event()
        self._thread: WatchThread | None = None

    def watch(self, watched: tuple[Resource, ...]) -> None:
        """Watch these kinds from now on; the watches start anew if they are others than before."""
        if watched != self._kinds:
            self._kinds = watched
            self._told.set()
            if self._thread is not None:
                self._thread.stop()

    async def run(self) -> None:
        """Watch, and watch again when kopf ends, until cancelled."""
        await self._told.wait()
        pause = FIRST_RESTART_SECONDS
        while True:
            began = time.monotonic()
            try:
                await self._watch_once()
            except WatchesEnded as error:
                log.warning("watches start again", in_seconds=pause, error=str(error))
                await self._when_blind()
            await asyncio.sleep(pause)
            lasted = time.monotonic() - began > LAST_RESTART_SECONDS
            pause = FIRST_RESTART_SECONDS if lasted else min(2 * pause, LAST_RESTART_SECONDS)

    async def _watch_once(self) -> None:
        loop = asyncio.get_running_loop()

        def on_event(resource: Resource, change: str | None, obj: Manifest) -> None:
            loop.call_soon_threadsafe(self._dispatcher.event, resource, change, obj)

        made = handlers.registry(self._kinds, on_event, self._credentials)
        settings = handlers.operator_settings(*self._selectors())
        self._thread = WatchThread(
            lambda stop: handlers.watch(made, settings, self._namespaces, stop)
        )
        try:
            await self._thread.ended
        finally:
            self._thread.stop()

    def _selectors(self) -> tuple[dict[Resource, str], dict[Resource, str]]:
        unlabelled = {kinds.EMBEDDERS, kinds.EVENTS}
        labels = {kind: OURS for kind in self._kinds if kind not in unlabelled}
        return labels, {kinds.EVENTS: "type=Warning"}


class WatchThread:
    """One run of kopf in a thread and an event loop of its own.

    A daemon: when the process has given back its Lease it need not wait for a watch to close.
    """

    def __init__(self, watch: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> None:
        self._watch = watch
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        threading.Thread(target=self._run, name="watches", daemon=True).start()

    def stop(self) -> None:
        """Ask the watches to close; harmless when they have."""
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._stop.set)

    def _run(self) -> None:
        outcome: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._watch(self._stop))
        except BaseException as error:  # noqa: BLE001 - it crosses to the loop that waits for it
            outcome = error
        with contextlib.suppress(RuntimeError):  # nobody waits any more
            self.ended.get_loop().call_soon_threadsafe(self._tell, outcome)

    def _tell(self, outcome: BaseException | None) -> None:
        if self.ended.done():
            return
        if outcome is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(WatchesEnded(repr(outcome)))
