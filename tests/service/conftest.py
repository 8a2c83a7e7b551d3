"""A model that a test can steer, and engines made of it."""

import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from smart_embedder import Engine, EngineOptions, ModelOptions, SchedulingOptions
from smart_embedder.errors import EmbedderError, InvalidInput, NonFiniteOutput, OutOfMemory
from smart_embedder.loading import Loader
from smart_embedder.models.model import (
    Card,
    Checkpoint,
    Ids,
    Output,
    Piece,
    Prepared,
    Side,
    Text,
    Truncation,
    Vectors,
)
from smart_embedder.scheduling.observer import Observer
from smart_embedder.scheduling.replica import Placed, Replica

# Machines are shared: how long one example takes says nothing about the code.
settings.register_profile("service", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("service")

START, END = 0, 2
WIDTH = 8
FREQUENCIES = np.arange(1, WIDTH + 1) / 7


def word_id(word: str) -> int:
    """The same word is the same token everywhere."""
    return 10 + zlib.crc32(word.encode()) % 100_000


class FakeModel:
    """Hashes words instead of multiplying matrices.

    A text with the word `poison` makes its whole pass raise, `nan` gives `NonFiniteOutput`, `oom`
    never fits. Closing `gate` holds every pass between two layers (its checkpoint is called),
    `stuck` holds it without a heartbeat. `memory` is how many tokens fit into one pass, `broken`
    makes every pass raise, `forgetful` loses the last answer.
    """

    def __init__(self, name: str = "fake/embedding", **facts: Any) -> None:
        self.card = Card(
            **{
                "name": name,
                "family": "fake",
                "revision": "1",
                "outputs": Output.DENSE | Output.SPARSE | Output.COLBERT,
                "dtype": "float32",
                "engine": "fake",
                "pooling": "cls",
                "max_tokens": 512,
                "dimensions": WIDTH,
                "vocabulary": 100_010,
                **facts,
            }
        )
        self.gate = threading.Event()
        self.gate.set()
        self.stuck = threading.Event()
        self.running = threading.Event()
        self.memory: int | None = None
        self.broken = False
        self.forgetful = False
        self.passes: list[list[Ids]] = []
        self.wanted: list[list[Output]] = []
        self.closed = 0

    @property
    def texts_seen(self) -> int:
        """How many texts all passes together held."""
        return sum(map(len, self.passes))

    def prepare(
        self,
        texts: Sequence[Text],
        *,
        prompt: str | None = None,
        truncate: bool = True,
        side: Side = "end",
        max_tokens: int | None = None,
    ) -> list[Prepared]:
        limit = min(max_tokens or self.card.max_tokens, self.card.max_tokens)
        return [
            self._fit(self._ids(text, prompt), limit, side, index, truncate)
            for index, text in enumerate(texts)
        ]

    def prepare_pairs(
        self,
        query: str,
        passages: Sequence[str],
        *,
        instruction: str | None = None,
        side: Side = "end",
        max_tokens: int | None = None,
    ) -> list[Prepared]:
        limit = min(max_tokens or self.card.max_tokens, self.card.max_tokens)
        lead = self._ids(f"{instruction or ''} {query}", None)
        pairs = []
        for passage in passages:
            ids = self._ids(passage, None)
            room = max(limit - len(lead) - 2, 0)
            kept = ids[-room:] if side == "start" else ids[:room]
            cut = (Truncation(len(ids), len(kept), side, "passage"),)
            pairs.append(
                Prepared(
                    np.array([START, *lead, END, *kept], np.int32),
                    cut if len(kept) < len(ids) else (),
                )
            )
        return pairs

    def tokenize(
        self, texts: Sequence[str], *, prompt: str | None = None, special: bool = True
    ) -> list[list[Piece]]:
        frame = [Piece(START, "<s>", True, None, None)] if special else []
        return [
            frame
            + [Piece(word_id(word), word, False, 0, len(word)) for word in _words(text, prompt)]
            for text in texts
        ]

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        hidden = {START, END} if skip_special else set()
        return " ".join(str(value) for value in ids if value not in hidden)

    def forward(
        self, batch: Sequence[Ids], wanted: Sequence[Output], checkpoint: Checkpoint
    ) -> list[Vectors | EmbedderError]:
        self.passes.append(list(batch))
        self.wanted.append(list(wanted))
        self.running.set()
        while self.stuck.is_set():
            self.stuck.wait(0.001)
        checkpoint()
        while not self.gate.wait(0.001):
            checkpoint()
        self._fail_if_told(batch)
        answers = [self._vectors(ids, outputs) for ids, outputs in zip(batch, wanted, strict=True)]
        return answers[:-1] if self.forgetful else answers

    def close(self) -> None:
        self.closed += 1

    def _fail_if_told(self, batch: Sequence[Ids]) -> None:
        tokens = sum(map(len, batch))
        everything = np.concatenate(list(batch))
        if word_id("oom") in everything or (self.memory is not None and tokens > self.memory):
            raise OutOfMemory(f"{tokens} tokens do not fit")
        if self.broken or word_id("poison") in everything:
            raise RuntimeError("poisoned")

    def _vectors(self, ids: Ids, wanted: Output) -> Vectors | EmbedderError:
        if word_id("nan") in ids:
            return NonFiniteOutput("not finite")
        # Every row depends on the whole text, as attention would have it.
        rows = np.cos(np.outer(ids + ids.sum(), FREQUENCIES)).astype(np.float32)
        distinct = np.unique(ids)
        return Vectors(
            dense=rows[0] if Output.DENSE in wanted else None,
            sparse_ids=distinct if Output.SPARSE in wanted else None,
            sparse_weights=np.full(len(distinct), 0.5, np.float32)
            if Output.SPARSE in wanted
            else None,
            token_weights=np.arange(1, len(ids) - 1, dtype=np.float32)
            if Output.SPARSE in wanted
            else None,
            colbert=rows[1:] if Output.COLBERT in wanted else None,
            score=float(rows[0, 0]) if Output.SCORE in wanted else None,
        )

    def _ids(self, text: Text, prompt: str | None) -> list[int]:
        if not isinstance(text, str):
            return list(text)
        return [word_id(word) for word in _words(text, prompt)]

    def _fit(self, ids: list[int], limit: int, side: Side, index: int, truncate: bool) -> Prepared:
        room = limit - 2
        if len(ids) <= room:
            return Prepared(np.array([START, *ids, END], np.int32))
        if not truncate:
            raise InvalidInput(
                "the text is too long", field="input", limit=limit, value=len(ids) + 2, index=index
            )
        kept = ids[-room:] if side == "start" else ids[:room]
        cut = Truncation(len(ids) + 2, limit, side)
        return Prepared(np.array([START, *kept, END], np.int32), (cut,))


def _words(text: str, prompt: str | None) -> list[str]:
    return f"{prompt or ''} {text}".split()


MakeModel = Callable[..., FakeModel]
MakeEngine = Callable[..., AbstractAsyncContextManager[Engine]]


@pytest.fixture
def anyio_backend() -> str:
    """The service runs on asyncio."""
    return "asyncio"


@pytest.fixture
def make_model() -> Iterator[MakeModel]:
    """Make fakes by name and facts; whatever a test left shut is opened at its end."""
    made: list[FakeModel] = []

    def make(name: str = "fake/embedding", **facts: Any) -> FakeModel:
        made.append(FakeModel(name, **facts))
        return made[-1]

    yield make
    for model in made:
        model.stuck.clear()
        model.gate.set()


@pytest.fixture
def fake_embedding(make_model: MakeModel) -> FakeModel:
    """Gives dense, sparse and ColBERT."""
    return make_model("fake/embedding")


@pytest.fixture
def fake_reranker(make_model: MakeModel) -> FakeModel:
    """Gives scores."""
    return make_model("fake/reranker", outputs=Output.SCORE, dimensions=0)


@pytest.fixture
def loader_of() -> Callable[..., Loader]:
    """A loader that hands out models which are there already: one device, or one mapping each."""

    def loader(*devices: Mapping[str, FakeModel], batch_tokens: int = 4096) -> Loader:
        def load(_options: EngineOptions, _report: object) -> list[Replica]:
            return [
                Replica(
                    f"fake:{index}",
                    {name: Placed(model, batch_tokens) for name, model in models.items()},
                )
                for index, models in enumerate(devices)
            ]

        return load

    return loader


@pytest.fixture
def make_engine(
    fake_embedding: FakeModel, fake_reranker: FakeModel, loader_of: Callable[..., Loader]
) -> MakeEngine:
    """A started engine over `fake_embedding` and `fake_reranker`, stopped at the end.

    `async with make_engine(max_queue_requests=2) as engine` passes scheduling options on.
    """

    @asynccontextmanager
    async def make(
        *, batch_tokens: int = 4096, observer: Observer | None = None, **scheduling: Any
    ) -> AsyncIterator[Engine]:
        options = EngineOptions(
            embedding=ModelOptions(name="fake/embedding"),
            reranker=ModelOptions(name="fake/reranker"),
            scheduling=SchedulingOptions(**scheduling),
            warmup_rounds=0,  # so that `passes` holds only what a test asked for
        )
        models = {"fake/embedding": fake_embedding, "fake/reranker": fake_reranker}
        loader = loader_of(models, batch_tokens=batch_tokens)
        async with Engine(options, loader=loader, observer=observer) as engine:
            yield engine

    return make
