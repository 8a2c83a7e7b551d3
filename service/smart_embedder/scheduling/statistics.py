"""The counts since the start and the picture of this moment, both read by `/stats` and probes."""

from dataclasses import dataclass


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
    """Since the oldest request with waiting texts was last given a place in a pass."""
    estimated_drain_seconds: float = 0.0


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
