"""What the operator tells Prometheus about itself.

Names are those of controller-runtime and client-go wherever they have one, so that existing
dashboards and alerts for operators work; only the gauge of conditions is our own.
"""

from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import generate_latest

from smart_embedder_operator.kinds import Key
from smart_embedder_operator.kube import Manifest

CONTROLLER = "embedder"
_STATUSES = ("True", "False", "Unknown")
_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Telemetry:
    """All metrics of the process in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter(
            "rest_client_requests_total",
            "Requests to the API server, by verb and status (0: no answer).",
            ["method", "code"],
            registry=registry,
        )
        self._conditions = Gauge(
            "smart_embedder_condition",
            "1 while the Embedder's condition has this status.",
            ["namespace", "embedder", "type", "status"],
            registry=registry,
        )
        self._replicas = Gauge(
            "smart_embedder_replicas",
            "Pods of the Embedder: all there are, those ready, the most its scaling may ask for.",
            ["namespace", "embedder", "state"],
            registry=registry,
        )
        self._types: dict[Key, frozenset[str]] = {}  # of the conditions shown now
        self._leading = Gauge(
            "leader_election_master_status",
            "1 while this replica leads.",
            ["name"],
            registry=registry,
        ).labels(name=CONTROLLER)
        self.queue = QueueTelemetry(registry)

    def request(self, verb: str, code: int) -> None:
        """Count a request to the API server."""
        self._requests.labels(method=verb, code=str(code)).inc()

    def conditions(self, namespace: str, name: str, conditions: Iterable[Manifest]) -> None:
        """Show an Embedder's conditions, and no longer those that do not apply any more."""
        held = {condition["type"]: condition["status"] for condition in conditions}
        for type_ in self._types.get((namespace, name), frozenset()) - held.keys():
            for status in _STATUSES:
                self._conditions.remove(namespace, name, type_, status)
        for type_, now in held.items():
            for status in _STATUSES:
                self._conditions.labels(namespace, name, type_, status).set(now == status)
        self._types[namespace, name] = frozenset(held)

    def replicas(self, namespace: str, name: str, status: Manifest, most: int | None) -> None:
        """Show an Embedder's pods."""
        figures = {
            "total": status.get("replicas", 0),
            "ready": status.get("readyReplicas", 0),
            "max": most or status.get("replicas", 0),
        }
        for state, figure in figures.items():
            self._replicas.labels(namespace, name, state).set(figure)

    def forget(self, namespace: str, name: str) -> None:
        """Stop showing an Embedder that is gone."""
        self._types.pop((namespace, name), None)
        self._replicas.remove_by_labels({"namespace": namespace, "embedder": name})
        self._conditions.remove_by_labels({"namespace": namespace, "embedder": name})

    def retire(self) -> None:
        """Stop showing Embedders: another replica leads, and what is known here grows old."""
        self._types.clear()
        self._replicas.clear()
        self._conditions.clear()
        self.queue.retire()

    def watch_leadership(self, leading: Callable[[], bool]) -> None:
        """Ask, when read, whether this replica leads."""
        self._leading.set_function(leading)

    def page(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self._registry)


class QueueTelemetry:
    """Counts what the work queue does; its observer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        name, labels = ["name"], {"name": CONTROLLER}
        self._depth = Gauge(
            "workqueue_depth", "Embedders waiting for a worker.", name, registry=registry
        ).labels(**labels)
        self._adds = Counter(
            "workqueue_adds_total", "Embedders that joined the queue.", name, registry=registry
        ).labels(**labels)
        self._retries = Counter(
            "workqueue_retries_total", "Reconciles tried again.", name, registry=registry
        ).labels(**labels)
        self._waits = Histogram(
            "workqueue_queue_duration_seconds",
            "How long Embedders waited.",
            name,
            registry=registry,
            buckets=_SECONDS,
        ).labels(**labels)
        self._work = Histogram(
            "workqueue_work_duration_seconds",
            "How long reconciles took.",
            name,
            registry=registry,
            buckets=_SECONDS,
        ).labels(**labels)
        self._unfinished = Gauge(
            "workqueue_unfinished_work_seconds",
            "Seconds of all reconciles under way.",
            name,
            registry=registry,
        ).labels(**labels)
        self._longest = Gauge(
            "workqueue_longest_running_processor_seconds",
            "Seconds of the longest reconcile under way.",
            name,
            registry=registry,
        ).labels(**labels)
        self._reconciles = Counter(
            "controller_runtime_reconcile_total",
            "Reconciles, by how they ended.",
            ["controller", "result"],
            registry=registry,
        )

    def added(self, depth: int) -> None:
        """An Embedder joined the queue."""
        self._adds.inc()
        self._depth.set(depth)

    def retire(self) -> None:
        """Nothing waits here any more."""
        self._depth.set(0)

    def started(self, depth: int, waited: float) -> None:
        """A worker took an Embedder."""
        self._depth.set(depth)
        self._waits.observe(waited)

    def finished(self, seconds: float, result: str) -> None:
        """A reconcile ended."""
        self._work.observe(seconds)
        self._reconciles.labels(CONTROLLER, result).inc()

    def retried(self) -> None:
        """A reconcile will be tried again."""
        self._retries.inc()

    def watch_work(self, busy_seconds: Callable[[], list[float]]) -> None:
        """Ask, when read, for the seconds of the reconciles under way."""
        self._unfinished.set_function(lambda: sum(busy_seconds()))
        self._longest.set_function(lambda: max(busy_seconds(), default=0.0))
