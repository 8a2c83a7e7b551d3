"""Every metric of the service: names, types, labels and buckets, not when they change.

The first two blocks keep the names of the service this one stands in for, so that its dashboards
go on working. `tests/service/telemetry/metric_names.txt` holds the list against this file.
"""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Info
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from smart_embedder.results import State
from smart_embedder.runtime.memory import DeviceMemory
from smart_embedder.scheduling.observer import Kind
from smart_embedder.scheduling.statistics import QueueSnapshot
from smart_embedder.telemetry.instruments import Counter, Gauge, Histogram

# From a cached query of a millisecond to a bulk request near its timeout of 90 s.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
TOKENS = (16, 64, 256, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)

STATUSES = ("success", "error", "timeout", "rejected", "cancelled")
REFUSALS = ("requests", "tokens", "wait", "unavailable", "rate")
LOSSES = ("disconnected", "deadline", "failed", "stopped")


class Metrics:
    """The registry of one process; every series without a label is there from the start, at 0."""

    def __init__(
        self, queue: Callable[[], QueueSnapshot], memory: Callable[[], DeviceMemory]
    ) -> None:
        self.registry = CollectorRegistry()
        self._requests()
        self._reranks()
        self._stages()
        self._batches()
        self._process()
        self.registry.register(_Live(queue, memory))

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Give the exposition; OpenMetrics, with exemplars, to those who ask for it."""
        if "application/openmetrics-text" in accept:
            # The library has no types for this one function.
            text: bytes = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]
            return text, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def _requests(self) -> None:
        self.embedding_requests = self._counter(
            "embedding_requests", "Embedding requests by how they ended", "status", "endpoint"
        )
        self.embedding_rejected = self._counter(
            "embedding_requests_rejected", "Embedding requests refused before any work", "reason"
        )
        self.sentences = self._counter("embedding_sentences_processed", "Texts embedded")
        self.embedding_seconds = self._histogram(
            "embedding_request_duration_seconds", "Embedding requests", SECONDS, "endpoint"
        )
        self.embedding_inference = self._histogram(
            "embedding_gpu_inference_duration_seconds", "Embedding passes on the device", SECONDS
        )
        self.embedding_batch = self._histogram(
            "embedding_batch_size", "Texts of an embedding pass", TEXTS
        )
        self.embedding_active = self._gauge(
            "embedding_active_requests", "Embedding requests being answered"
        )
        self.cache_hits = self._counter("embedding_cache_hits", "Texts the cache knew", "model")
        self.cache_misses = self._counter(
            "embedding_cache_misses", "Texts the cache did not know", "model"
        )
        _start_at_zero(self.embedding_rejected, REFUSALS)
        for status in STATUSES:
            self.embedding_requests.inc(status, "/embeddings", by=0)
        self.embedding_seconds.start("/embeddings")

    def _reranks(self) -> None:
        self.rerank_requests = self._counter(
            "rerank_requests", "Rerank requests by how they ended", "status"
        )
        self.rerank_rejected = self._counter(
            "rerank_requests_rejected", "Rerank requests refused before any work", "reason"
        )
        self.pairs = self._counter("rerank_pairs_processed", "Query-passage pairs scored")
        self.rerank_seconds = self._histogram(
            "rerank_request_duration_seconds", "Rerank requests", SECONDS
        )
        self.rerank_inference = self._histogram(
            "rerank_inference_duration_seconds", "Rerank passes on the device", SECONDS
        )
        self.rerank_active = self._gauge("rerank_active_requests", "Rerank requests being answered")
        _start_at_zero(self.rerank_rejected, REFUSALS)
        _start_at_zero(self.rerank_requests, STATUSES)

    def _stages(self) -> None:
        self.tokenization = self._histogram(
            "smart_embedder_tokenization_duration_seconds", "Tokenizing one request", SECONDS
        )
        self.queueing = self._histogram(
            "smart_embedder_queue_duration_seconds", "One request's wait for a pass", SECONDS
        )
        self.inference = self._histogram(
            "smart_embedder_inference_duration_seconds", "One request's passes", SECONDS
        )
        self.answers = self._counter(
            "smart_embedder_requests", "Requests by wire format and HTTP status", "dialect", "code"
        )
        self.tokens = self._counter(
            "smart_embedder_tokens",
            "Tokens by the name of the caller's API token and model, for sharing the cost",
            "token_name",
            "model",
        )

    def _batches(self) -> None:
        self.batch_texts = self._histogram("smart_embedder_batch_texts", "Texts of a pass", TEXTS)
        self.batch_tokens = self._histogram(
            "smart_embedder_batch_tokens", "Tokens of a pass", TOKENS
        )
        self.batch_fill = self._histogram(
            "smart_embedder_batch_fill_ratio", "Share of the token budget that is used", SHARES
        )
        self.tokens_processed = self._counter(
            "smart_embedder_tokens_processed", "Tokens that went through a pass"
        )
        self.out_of_memory = self._counter(
            "smart_embedder_oom", "Passes that did not fit and were halved"
        )
        self.deduplicated = self._counter(
            "smart_embedder_deduplicated", "Texts that shared the pass of an equal one"
        )
        self.cancelled = self._counter(
            "smart_embedder_cancelled",
            "Texts that left the queue before they cost a pass",
            "reason",
        )
        self.timeouts = self._counter(
            "smart_embedder_pass_timeouts", "Passes stopped at their hard limit", "kind"
        )
        _start_at_zero(self.cancelled, LOSSES)
        _start_at_zero(self.timeouts, Kind)

    def _process(self) -> None:
        self.state = self._gauge(
            "smart_embedder_lifecycle_state", "1 for the state the process is in", "state"
        )
        self.alive = self._gauge(
            "smart_embedder_workers_alive", "1 while a device's worker has a heartbeat"
        )
        self.info = Info("embedding_server", "What is served", registry=self.registry)
        self.models = self._gauge(
            "smart_embedder_model_info",
            "1 for each served model; the operator pins its revision",
            *("role", "name", "revision", "fingerprint"),
        )
        for state in State:
            self.state.set(0, state)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        counter = Counter(name, words, *labels)
        self.registry.register(counter)
        return counter

    def _gauge(self, name: str, words: str, *labels: str) -> Gauge:
        gauge = Gauge(name, words, *labels)
        self.registry.register(gauge)
        return gauge

    def _histogram(
        self, name: str, words: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        histogram = Histogram(name, words, buckets, *labels)
        self.registry.register(histogram)
        return histogram


class _Live(Collector):
    """Gauges that are read when somebody looks, so that they are never stale."""

    def __init__(
        self, queue: Callable[[], QueueSnapshot], memory: Callable[[], DeviceMemory]
    ) -> None:
        self._queue = queue
        self._memory = memory

    def collect(self) -> Iterable[Metric]:
        """Read the queue and the devices."""
        queue, memory = self._queue(), self._memory()
        figures: tuple[tuple[str, str, float], ...] = (
            (
                "smart_embedder_queue_depth",
                "Requests, embed and rerank, admitted and not yet answered",
                queue.depth,
            ),
            (
                "smart_embedder_interactive_queue_depth",
                "The same without the bulk lane",
                queue.interactive_depth,
            ),
            ("smart_embedder_queue_waiting", "Texts that no pass has taken yet", queue.waiting),
            (
                "smart_embedder_queue_tokens",
                "Tokens admitted and not yet computed",
                queue.tokens,
            ),
            (
                "smart_embedder_oldest_wait_seconds",
                "Wait of the most neglected request",
                queue.oldest_wait_seconds,
            ),
            (
                "smart_embedder_estimated_drain_seconds",
                "Time to compute all that is admitted, at the measured rate",
                queue.estimated_drain_seconds,
            ),
            (
                "embedding_queue_size",
                "Embedding requests admitted and not yet answered",
                queue.depth - queue.rerank_depth,
            ),
            ("gpu_memory_allocated_bytes", "Memory of tensors", memory.allocated),
            ("gpu_memory_reserved_bytes", "Memory kept by the allocator", memory.reserved),
            ("gpu_memory_free_bytes", "Free memory of the devices", memory.free),
            ("gpu_memory_total_bytes", "Memory of the devices", memory.total),
            (
                "embedding_gpu_memory_allocated_bytes",
                "The older name of gpu_memory_allocated_bytes",
                memory.allocated,
            ),
            (
                "embedding_gpu_memory_reserved_bytes",
                "The older name of gpu_memory_reserved_bytes",
                memory.reserved,
            ),
        )
        for name, words, value in figures:
            yield GaugeMetricFamily(name, words, value=value)


def _start_at_zero(metric: Counter, values: Iterable[str]) -> None:
    for value in values:
        metric.inc(value, by=0)
