"""The counts since the start and the picture of this moment, read by probes and by `/stats`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import structlog

from smart_embedder.scheduling.observer import (
    Answered,
    BatchFacts,
    Kind,
    Lane,
    Loss,
    Observer,
    Outcome,
    Refusal,
)

Told = ParamSpec("Told")
Given = TypeVar("Given")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSnapshot:
    """The queue at one moment. A request counts from its admission to its answer."""

    depth: int = 0
    """Requests, embed and rerank, admitted and not yet answered."""
    interactive_depth: int = 0
    rerank_depth: int = 0
    waiting: int = 0
    """Texts that no pass has taken yet."""
    tokens: int = 0
    """Tokens admitted and not yet computed."""
    oldest_wait_seconds: float = 0.0
    """Since the most neglected request with waiting texts was given a place in a pass."""
    estimated_drain_seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class ModelStatistics:
    """What one model has done since the start."""

    batches: int = 0
    texts: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Spent in passes, over all devices."""


@dataclass(slots=True, kw_only=True)
class Statistics:
    """Counts since the start."""

    requests: int = 0
    refused: int = 0
    failed: int = 0
    texts: int = 0
    tokens: int = 0
    batches: int = 0
    dropped_texts: int = 0
    deduplicated_texts: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    out_of_memory: int = 0
    timeouts: int = 0
    models: dict[str, ModelStatistics] = field(default_factory=dict)


class Tally:
    """Counts what the scheduler tells and passes it on.

    Whoever watches must not raise; when one does all the same, that is told once, and the requests
    never notice.
    """

    def __init__(self, onward: Observer) -> None:
        self.counts = Statistics()
        self._onward = onward
        self._told = False

    def trace(self) -> object:
        """See `Observer`."""
        return self._pass_on(self._onward.trace)

    def admitted(self, kind: Kind, lane: Lane, texts: int) -> None:
        """See `Observer`."""
        self.counts.requests += 1
        self._pass_on(self._onward.admitted, kind, lane, texts)

    def refused(self, kind: Kind, reason: Refusal) -> None:
        """See `Observer`."""
        self.counts.refused += 1
        self._pass_on(self._onward.refused, kind, reason)

    def answered(self, answered: Answered) -> None:
        """See `Observer`."""
        self.counts.failed += answered.outcome != "success"
        self.counts.texts += answered.texts
        self.counts.tokens += answered.tokens
        self._pass_on(self._onward.answered, answered)

    def batch_started(self, batch: BatchFacts) -> None:
        """See `Observer`."""
        self.counts.batches += 1
        self._pass_on(self._onward.batch_started, batch)

    def batch_finished(self, batch: BatchFacts, seconds: float, outcome: Outcome) -> None:
        """See `Observer`."""
        model = self.counts.models.setdefault(batch.model, ModelStatistics())
        model.batches += 1
        model.texts += batch.texts
        model.tokens += batch.tokens
        model.seconds += seconds
        self._pass_on(self._onward.batch_finished, batch, seconds, outcome)

    def dropped(self, reason: Loss, texts: int) -> None:
        """See `Observer`."""
        self.counts.dropped_texts += texts
        self._pass_on(self._onward.dropped, reason, texts)

    def deduplicated(self, texts: int) -> None:
        """See `Observer`."""
        self.counts.deduplicated_texts += texts
        self._pass_on(self._onward.deduplicated, texts)

    def cache_looked_up(self, model: str, hits: int, misses: int) -> None:
        """See `Observer`."""
        self.counts.cache_hits += hits
        self.counts.cache_misses += misses
        self._pass_on(self._onward.cache_looked_up, model, hits, misses)

    def out_of_memory(self, device: str) -> None:
        """See `Observer`."""
        self.counts.out_of_memory += 1
        self._pass_on(self._onward.out_of_memory, device)

    def timed_out(self, kind: Kind) -> None:
        """See `Observer`."""
        self.counts.timeouts += 1
        self._pass_on(self._onward.timed_out, kind)

    def _pass_on(
        self, tell: Callable[Told, Given], *facts: Told.args, **named: Told.kwargs
    ) -> Given | None:
        try:
            return tell(*facts, **named)
        except Exception as error:
            if not self._told:
                self._told = True
                log.exception("observer_failed", kind=type(error).__name__)
            return None
