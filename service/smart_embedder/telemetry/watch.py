"""What the scheduler tells, turned into metrics and spans: the `Observer` of the service."""

from opentelemetry.trace import format_trace_id
from prometheus_client import Gauge

from smart_embedder.scheduling.observer import (
    Answered,
    BatchFacts,
    Kind,
    Lane,
    Loss,
    Outcome,
    Refusal,
    Silent,
)
from smart_embedder.telemetry.metrics import Metrics
from smart_embedder.telemetry.tracing import Tracing, current_context


class Watch(Silent):
    """Counts and traces what happens behind the door."""

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self._metrics = metrics
        self._tracing = tracing

    def trace(self) -> object:
        """See `Observer`."""
        return None if self._tracing.off else current_context()

    def admitted(self, kind: Kind, lane: Lane, texts: int) -> None:
        """See `Observer`."""
        self._active(kind).inc()

    def refused(self, kind: Kind, reason: Refusal) -> None:
        """See `Observer`."""
        metrics = self._metrics
        rejected = metrics.rerank_rejected if kind is Kind.RERANK else metrics.embedding_rejected
        rejected.labels(reason).inc()

    def answered(self, answered: Answered) -> None:
        """See `Observer`."""
        metrics = self._metrics
        self._active(answered.kind).dec()
        if answered.outcome == "success":
            done = metrics.pairs if answered.kind is Kind.RERANK else metrics.sentences
            done.inc(answered.texts)
        exemplar = exemplar_of(self._tracing)
        metrics.tokenization.observe(answered.tokenize, exemplar)
        metrics.queueing.observe(answered.queue, exemplar)
        metrics.inference.observe(answered.inference, exemplar)
        if not self._tracing.off:
            self._tracing.stages(answered)

    def batch_finished(self, batch: BatchFacts, seconds: float, outcome: Outcome) -> None:
        """See `Observer`."""
        metrics = self._metrics
        metrics.batch_texts.observe(batch.texts)
        metrics.batch_tokens.observe(batch.tokens)
        metrics.batch_fill.observe(batch.fill)
        metrics.tokens_processed.inc(batch.tokens)
        if batch.kind is Kind.RERANK:
            metrics.rerank_inference.observe(seconds)
        else:
            metrics.embedding_inference.observe(seconds)
            metrics.embedding_batch.observe(batch.texts)
        if not self._tracing.off:
            self._tracing.batch(batch, seconds, outcome)

    def dropped(self, reason: Loss, texts: int) -> None:
        """See `Observer`."""
        self._metrics.cancelled.labels(reason).inc(texts)

    def deduplicated(self, texts: int) -> None:
        """See `Observer`."""
        self._metrics.deduplicated.inc(texts)

    def cache_looked_up(self, model: str, hits: int, misses: int) -> None:
        """See `Observer`."""
        self._metrics.cache_hits.labels(model).inc(hits)
        self._metrics.cache_misses.labels(model).inc(misses)

    def out_of_memory(self, device: str) -> None:
        """See `Observer`."""
        self._metrics.out_of_memory.inc()

    def timed_out(self, kind: Kind) -> None:
        """See `Observer`."""
        self._metrics.timeouts.labels(kind).inc()

    def _active(self, kind: Kind) -> Gauge:
        metrics = self._metrics
        return metrics.rerank_active if kind is Kind.RERANK else metrics.embedding_active


def exemplar_of(tracing: Tracing) -> dict[str, str] | None:
    """The trace to look at behind a measured value."""
    context = None if tracing.off else current_context()
    return {"trace_id": format_trace_id(context.trace_id)} if context else None
