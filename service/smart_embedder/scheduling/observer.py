"""What the scheduler tells about itself. Who counts, exports or traces it is not known here."""

import enum
from dataclasses import dataclass
from typing import Literal, Protocol


class Lane(enum.StrEnum):
    """Somebody waits for the answer, or a job reads it later."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Kind(enum.StrEnum):
    """The two works a device does."""

    EMBED = "embed"
    RERANK = "rerank"


Refusal = Literal["requests", "tokens", "wait", "unavailable"]
"""Why the door stayed shut: too many requests, too many tokens, too long a wait, not serving."""
Loss = Literal["disconnected", "deadline", "failed", "stopped"]
"""Why texts left the queue: their caller is gone, too late, has failed, or the engine stopped."""
Outcome = Literal["success", "error", "timeout", "cancelled"]
"""How a request ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFacts:
    """One batch on one device."""

    device: str
    model: str
    kind: Kind
    lane: Lane
    texts: int
    tokens: int
    fill: float
    """Share of the token budget that is used; above 1 for one text longer than the budget."""
    traces: tuple[object, ...]
    """The trace contexts of the requests it serves, as `Observer.trace` gave them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One admitted request's end, and the seconds it spent in each stage."""

    kind: Kind
    lane: Lane
    outcome: Outcome
    texts: int
    tokens: int
    tokenize: float
    queue: float
    inference: float


class Observer(Protocol):
    """Called on the event loop's thread; must not block or raise."""

    def trace(self) -> object:
        """Return the trace context of the calling request, kept for `BatchFacts.traces`."""

    def admitted(self, kind: Kind, lane: Lane, texts: int) -> None:
        """A request came through the door."""

    def refused(self, kind: Kind, reason: Refusal) -> None:
        """A request was turned away before any work."""

    def answered(self, answered: Answered) -> None:
        """An admitted request has ended, well or not."""

    def batch_started(self, batch: BatchFacts) -> None:
        """A device took a batch."""

    def batch_finished(self, batch: BatchFacts, seconds: float, outcome: Outcome) -> None:
        """A device gave a batch back."""

    def dropped(self, reason: Loss, texts: int) -> None:
        """Texts left the queue before they cost a pass."""

    def deduplicated(self, texts: int) -> None:
        """Texts wait for an equal one that is already on its way."""

    def cache_looked_up(self, model: str, hits: int, misses: int) -> None:
        """The cache was asked for texts."""

    def out_of_memory(self, device: str) -> None:
        """A pass did not fit and was halved."""

    def timed_out(self, kind: Kind) -> None:
        """A pass ran past its hard limit."""


class Silent:
    """The observer of a program that does not watch."""

    def trace(self) -> object:
        """See `Observer`."""
        return None

    def admitted(self, kind: Kind, lane: Lane, texts: int) -> None:
        """See `Observer`."""

    def refused(self, kind: Kind, reason: Refusal) -> None:
        """See `Observer`."""

    def answered(self, answered: Answered) -> None:
        """See `Observer`."""

    def batch_started(self, batch: BatchFacts) -> None:
        """See `Observer`."""

    def batch_finished(self, batch: BatchFacts, seconds: float, outcome: Outcome) -> None:
        """See `Observer`."""

    def dropped(self, reason: Loss, texts: int) -> None:
        """See `Observer`."""

    def deduplicated(self, texts: int) -> None:
        """See `Observer`."""

    def cache_looked_up(self, model: str, hits: int, misses: int) -> None:
        """See `Observer`."""

    def out_of_memory(self, device: str) -> None:
        """See `Observer`."""

    def timed_out(self, kind: Kind) -> None:
        """See `Observer`."""
