"""One model's part of a request, from the queue to its last vector."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from smart_embedder.errors import EmbedderError
from smart_embedder.models.model import Ids, Output, Vectors
from smart_embedder.scheduling.observer import Kind, Lane

BULK_TEXTS = {Kind.EMBED: 32, Kind.RERANK: 128}
"""Above so many texts a request is no person's search: TEI's client batch, a page of candidates."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One request, from the door to its answer, and the seconds it spends in each stage."""

    kind: Kind
    lane: Lane
    client: str
    texts: int
    deadline: float | None
    tokens: int = 0
    """Still to be computed; an estimate until the texts are tokenized."""
    size: int = 0
    """Tokens of all its texts, computed or not."""
    trace: object = None
    admitted: float = 0.0
    tokenize: float = 0.0
    queue: float = 0.0
    inference: float = 0.0
    """Of all the passes that held its texts."""

    @classmethod
    def of(
        cls, kind: Kind, texts: int, lane: Lane | None, client: str | None, deadline: float | None
    ) -> "Ticket":
        """Fill in what the caller left open."""
        usual = Lane.BULK if texts > BULK_TEXTS[kind] else Lane.INTERACTIVE
        return cls(kind, lane or usual, client or "", texts, deadline)


@dataclass(slots=True, eq=False)
class Job:
    """Slots for the answers of some texts by one model, and one future for all of them."""

    ticket: Ticket
    model: str
    outputs: Output
    ids: Sequence[Ids]
    future: asyncio.Future[None]
    keys: list[bytes] = field(init=False)
    """The ids as bytes: equal texts have equal keys."""
    answers: list[Vectors | None] = field(init=False)
    missing: int = field(init=False)
    followers: dict[int, list[tuple["Job", int]]] = field(default_factory=dict)
    """Slots of other jobs (or of this one) that hold the same text and wait for this slot."""
    following: set["Job"] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Make a slot for each text."""
        self.keys = [ids.tobytes() for ids in self.ids]
        self.answers = [None] * len(self.ids)
        self.missing = len(self.ids)

    @property
    def over(self) -> bool:
        """Answered, failed or given up: nobody reads another vector."""
        return self.future.done()

    def fill(self, slot: int, vectors: Vectors) -> None:
        """Take one answer in; the last one ends the wait."""
        self.answers[slot] = vectors
        self.missing -= 1
        if not self.missing and not self.future.done():
            self.future.set_result(None)

    def fail(self, error: EmbedderError) -> None:
        """End the wait with an error."""
        if not self.future.done():
            self.future.set_exception(error)

    def give_up(self) -> None:
        """Wait no more; an error that nobody came to read is no leak."""
        if not self.future.cancel() and not self.future.cancelled():
            self.future.exception()

    def vectors(self) -> list[Vectors]:
        """Every answer, in order; only for a job that has them all."""
        return [vectors for vectors in self.answers if vectors is not None]

    def wanted(self, slot: int) -> bool:
        """Whether anybody still reads what this slot will hold."""
        return not self.over or any(not job.over for job, _ in self.followers.get(slot, ()))


@dataclass(slots=True, eq=False)
class Batch:
    """The texts of one pass."""

    model: str
    shares: list[tuple[Job, list[int]]]
    ids: list[Ids] = field(init=False)
    wanted: list[Output] = field(init=False)
    tokens: int = field(init=False)

    def __post_init__(self) -> None:
        """Lay the texts side by side."""
        self.ids = [job.ids[slot] for job, slots in self.shares for slot in slots]
        self.wanted = [job.outputs for job, slots in self.shares for _ in slots]
        self.tokens = sum(map(len, self.ids))

    @property
    def kind(self) -> Kind:
        """Embed or rerank; a model does one of them."""
        return self.shares[0][0].ticket.kind

    @property
    def lane(self) -> Lane:
        """A pass holds texts of one lane."""
        return self.shares[0][0].ticket.lane

    def anybody_waits(self) -> bool:
        """Whether one of its texts is still wanted."""
        return any(job.wanted(slot) for job, slots in self.shares for slot in slots)
