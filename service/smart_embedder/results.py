"""What the engine answers: numpy arrays and facts, and nothing about HTTP."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from smart_embedder.models.model import Card, Floats, Ids, Output, Side


class State(enum.StrEnum):
    """Where the engine is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Sparse:
    """One text's lexical weights; ids ascend. Read-only: equal texts share the arrays."""

    ids: Ids
    weights: Floats
    by_token: Floats
    """The weight of each token where it stands in the text, special tokens left out."""


@dataclass(frozen=True, slots=True)
class TextTruncation:
    """A text (or a half of a pair) that was longer than its model takes."""

    index: int
    original: int
    kept: int
    side: Side
    part: Literal["text", "query", "passage"]
    model: str


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that one request spent in each stage."""

    tokenize: float
    queue: float
    inference: float

    @property
    def total(self) -> float:
        """From the door to the answer."""
        return self.tokenize + self.queue + self.inference

    def __add__(self, other: "Timings") -> "Timings":
        """Both, one after the other."""
        return Timings(
            self.tokenize + other.tokenize,
            self.queue + other.queue,
            self.inference + other.inference,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """The vectors of one request, in the order of its texts; outputs not asked for are None."""

    dense: Floats | None
    """One row for each text; the caller's own."""
    sparse: list[Sparse] | None
    colbert: list[Floats] | None
    """Of each text, one row for each token. Read-only: equal texts share the arrays."""
    tokens: list[int]
    """Of each text, special tokens included, as the first model that was asked reads it."""
    truncations: tuple[TextTruncation, ...]
    timings: Timings
    cards: Mapping[Output, Card]
    """Which model gave each output."""

    @property
    def dense_rows(self) -> Floats:
        """The dense vectors of a request that asked for them."""
        assert self.dense is not None  # noqa: S101 - only such a request may ask
        return self.dense

    @property
    def fingerprints(self) -> dict[Output, str]:
        """Two vectors of one output may be compared only when its fingerprint is equal."""
        return {output: card.fingerprint for output, card in self.cards.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The scores of one query's passages, in the order of the passages."""

    scores: Floats
    tokens: list[int]
    """Of each pair, special tokens included."""
    truncations: tuple[TextTruncation, ...]
    timings: Timings
    card: Card


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the start is."""

    stage: Literal["downloading", "loading", "warming"]
    model: str
    done: int = 0
    total: int = 0
    """In bytes while downloading, in rounds while warming; 0 where it is not known."""


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the probes ask."""

    state: State
    alive: bool
    """False when no device's worker has a heartbeat any more: only a restart helps."""
    devices: tuple[str, ...]
    progress: Progress | None
    failure: str | None
    """Why the engine could not start or had to end."""
    batch_tokens: int | None = None
    """Tokens that the roomiest model's pass may hold on a device; None before they are there."""

    @property
    def ready(self) -> bool:
        """Whether new work is taken."""
        return self.alive and self.state is State.READY
