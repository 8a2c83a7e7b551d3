"""One request as a dialect sees it: the engine at hand, and who asks until when.

It owns what every dialect would otherwise repeat: the caller's lane, deadline and name go to the
engine, the answer's fingerprint and timings go to the headers, and an error names the field as the
dialect's client wrote it.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from smart_embedder.engine import Engine
from smart_embedder.errors import EmbedderError
from smart_embedder.models.model import Output, Text
from smart_embedder.results import Embeddings, Ranking, Timings
from smart_embedder.scheduling.observer import Kind, Lane
from smart_embedder.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the engine did for a request, for those who count, log and trace."""

    models: tuple[str, ...]
    texts: int
    tokens: int
    characters: int
    timings: Timings
    finished: int = field(default_factory=time.time_ns)
    """When the vectors were there, in nanoseconds since the epoch."""


@dataclass(slots=True, kw_only=True)
class Call:
    """The request being answered."""

    engine: Engine
    settings: Settings
    deadline: float
    """On the clock of `time.monotonic`."""
    client: str = ""
    """The token's name, or the address."""
    lane: Lane | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    """What stood in the path's braces."""
    headers: dict[str, str] = field(default_factory=dict)
    """Of the answer, whatever becomes of the request."""
    admitted: bool = False
    """Past the checks before its body; whatever refuses it after them counts that itself."""
    error: str | None = None
    """The code of the error it ended with."""
    dialect: str = ""
    """Whose body it is, once that is known."""
    kind: Kind | None = None
    """What it asks for; None where nothing is embedded or ranked."""
    public: bool = False
    """A probe, a scrape or a page: answered to anybody, and no work."""
    token_name: str | None = None
    """The name of the API token that was shown."""
    work: Work | None = None
    accept: str = ""
    """The media types that the client reads."""
    path: str = ""
    """As the client wrote it."""

    started: float = field(default_factory=time.monotonic)

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the request came in."""
        return round((time.monotonic() - self.started) * 1000, 3)

    def name_of(self, output: Output) -> str | None:
        """Name the model that gives this output, None when none does."""
        return self.engine.name_of(output)

    async def embed(self, texts: Sequence[Text], *, field: str, **options: Any) -> Embeddings:
        """Embed for this caller; `options` are those of `Engine.embed`.

        Args:
            texts: What to embed.
            field: What the dialect calls the texts, for error messages.
            options: Passed on.
        """
        with _named(field):
            found = await self.engine.embed(
                texts, lane=self.lane, client=self.client, deadline=self.deadline, **options
            )
        models = tuple(dict.fromkeys(card.name for card in found.cards.values()))
        self._tell(models, found.timings, found.tokens, sum(map(len, texts)))
        self.headers["x-vector-fingerprint"] = fingerprint(found.fingerprints)
        return found

    async def rerank(
        self, query: str, passages: Sequence[str], *, field: str, **options: Any
    ) -> Ranking:
        """Rerank for this caller; `options` are those of `Engine.rerank`."""
        with _named(field):
            found = await self.engine.rerank(
                query,
                passages,
                lane=self.lane,
                client=self.client,
                deadline=self.deadline,
                **options,
            )
        characters = len(query) + sum(map(len, passages))
        self._tell((found.card.name,), found.timings, found.tokens, characters)
        self.headers["x-vector-fingerprint"] = found.card.fingerprint
        return found

    def _tell(
        self,
        models: tuple[str, ...],
        timings: Timings,
        tokens: Sequence[int],
        characters: int,
    ) -> None:
        """Keep what was done; headers get the stages' times in whole ms, as TEI's clients read.

        A request may take several rankings, one after another: they add up.
        """
        done = self.work or Work(
            models=models, texts=0, tokens=0, characters=0, timings=Timings(0, 0, 0)
        )
        self.work = work = Work(
            models=models,
            texts=done.texts + len(tokens),
            tokens=done.tokens + sum(tokens),
            characters=done.characters + characters,
            timings=done.timings + timings,
        )
        timings = work.timings
        device = self.engine.health.devices
        self.headers |= {
            "x-compute-type": "gpu" if any(name.startswith("cuda") for name in device) else "cpu",
            "x-compute-characters": str(work.characters),
            "x-compute-tokens": str(work.tokens),
            "x-compute-time": milliseconds(timings.total),
            "x-total-time": milliseconds(timings.total),
            "x-tokenization-time": milliseconds(timings.tokenize),
            "x-queue-time": milliseconds(timings.queue),
            "x-inference-time": milliseconds(timings.inference),
        }


def milliseconds(seconds: float) -> str:
    """Round to whole milliseconds."""
    return str(round(seconds * 1000))


def fingerprint(prints: Mapping[Output, str]) -> str:
    """Name the one fingerprint of an answer, or each output's where they differ."""
    if len(set(prints.values())) == 1:
        return next(iter(prints.values()))
    return ", ".join(f"{str(output.name).lower()}={mark}" for output, mark in prints.items())


@contextmanager
def _named(field: str) -> Iterator[None]:
    """Let an engine's error name the texts as the client knows them."""
    try:
        yield
    except EmbedderError as error:
        if error.field in ("input", "texts", "passages") or (
            error.field is None and error.index is not None
        ):
            error.field = field
        raise
