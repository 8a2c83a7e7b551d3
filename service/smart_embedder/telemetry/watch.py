"""What the scheduler tells, turned into metrics and spans: the `Observer` of the service."""

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
from smart_embedder.telemetry.instruments import Gauge
from smart_embedder.telemetry.metrics import Metrics
from smart_embedder.telemetry.tracing import Tracing, current


class Watch(Silent):
    """Counts and traces what happens behind the door."""

    def __init__(self, metrics: Metrics, tracing: Tracing | None) -> None:
        self._metrics = metrics
        self._tracing = tracing

    def trace(self) -> object:
        """See `Observer`."""
        trace = current()
        return trace.context if trace else None

    def admitted(self, kind: Kind, lane: Lane, texts: int) -> None:
        """See `Observer`."""
        self._active(kind).add(1)

    def refused(self, kind: Kind, reason: Refusal) -> None:
        """See `Observer`."""
        metrics = self._metrics
        rejected = metrics.rerank_rejected if kind is Kind.RERANK else metrics.embedding_rejected
        rejected.inc(reason)

    def answered(self, answered: Answered) -> None:
        """See `Observer`."""
        metrics = self._metrics
        self._active(answered.kind).add(-1)
        if answered.outcome == "success":
            done = metrics.pairs if answered.kind is Kind.RERANK else metrics.sentences
            done.inc(by=answered.texts)
        trace = current()
        exemplar = trace.id if trace else None
        metrics.tokenization.observe(answered.tokenize, trace=exemplar)
        metrics.queueing.observe(answered.queue, trace=exemplar)
        metrics.inference.observe(answered.inference, trace=exemplar)
        if trace:
            trace.answered(answered)

    def batch_finished(self, batch: BatchFacts, seconds: float, outcome: Outcome) -> None:
        """See `Observer`."""
        metrics = self._metrics
        metrics.batch_texts.observe(batch.texts)
        metrics.batch_tokens.observe(batch.tokens)
        metrics.batch_fill.observe(batch.fill)
        metrics.tokens_processed.inc(by=batch.tokens)
        if batch.kind is Kind.RERANK:
            metrics.rerank_inference.observe(seconds)
        else:
            metrics.embedding_inference.observe(seconds)
            metrics.embedding_batch.observe(batch.texts)
        if self._tracing:
            self._tracing.batch(batch, seconds, outcome)

    def dropped(self, reason: Loss, texts: int) -> None:
        """See `Observer`."""
        self._metrics.cancelled.inc(reason, by=texts)

    def deduplicated(self, texts: int) -> None:
        """See `Observer`."""
        self._metrics.deduplicated.inc(by=texts)

    def cache_looked_up(self, model: str, hits: int, misses: int) -> None:
        """See `Observer`."""
        self._metrics.cache_hits.inc(model, by=hits)
        self._metrics.cache_misses.inc(model, by=misses)

    def out_of_memory(self, device: str) -> None:
        """See `Observer`."""
        self._metrics.out_of_memory.inc()

    def timed_out(self, kind: Kind) -> None:
        """See `Observer`."""
        self._metrics.timeouts.inc(kind)

    def _active(self, kind: Kind) -> Gauge:
        metrics = self._metrics
        return metrics.rerank_active if kind is Kind.RERANK else metrics.embedding_active
