"""The engine: texts in, vectors and scores out, for the HTTP service and for any Python program.

It owns the life of the models and of the scheduler, and the way of a request through them; it
knows nothing of HTTP.
"""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from smart_embedder.assembly import (
    check_dimensions,
    colbert_of,
    dense_of,
    scores_of,
    sparse_of,
    truncations_of,
)
from smart_embedder.errors import EmbedderError, EmptyInput, StartupFailed, Unavailable
from smart_embedder.loading import Loader, load
from smart_embedder.models.model import Card, Model, Output, Piece, Prepared, Side, Text, Vectors
from smart_embedder.options import EngineOptions
from smart_embedder.results import (
    Embeddings,
    Health,
    Progress,
    Ranking,
    State,
    TextTruncation,
    Timings,
)
from smart_embedder.roster import Roster, Route
from smart_embedder.scheduling.observer import Lane, Observer, Silent
from smart_embedder.scheduling.replica import Replica
from smart_embedder.scheduling.statistics import QueueSnapshot, Statistics


class Engine:
    """Dense, sparse and ColBERT embeddings and reranking; `async with Engine() as engine`."""

    def __init__(
        self,
        options: EngineOptions | None = None,
        *,
        loader: Loader = load,
        observer: Observer | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.options = options or EngineOptions()
        self.state = State.STARTING
        self._load = loader
        self._observer = observer or Silent()
        self._on_progress = progress
        self._progress: Progress | None = None
        self._failure: str | None = None
        self._replicas: Sequence[Replica] = ()
        self._roster = Roster(self.options, {})
        self._one_at_a_time = asyncio.Lock()

    async def start(self) -> None:
        """Load and warm every model; raises `StartupFailed` with its reason."""
        try:
            self._replicas = await asyncio.to_thread(self._load, self.options, self._report)
        except StartupFailed as error:
            self.state, self._failure = State.FAILED, error.message
            raise
        cards = {name: placed.model.card for name, placed in self._replicas[0].models.items()}
        self._roster = Roster(self.options, cards)
        self.state = State.READY

    async def stop(self, drain_seconds: float = 30.0) -> None:
        """Finish what is admitted within the budget, fail the rest, give the models back."""
        self.state = State.STOPPED
        for replica in self._replicas:
            for placed in replica.models.values():
                placed.model.close()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    async def embed(
        self,
        texts: Sequence[Text],
        *,
        model: str | None = None,
        dense: bool = True,
        sparse: bool = False,
        colbert: bool = False,
        normalize: bool | None = None,
        dimensions: int | None = None,
        truncate: bool = True,
        truncation_side: Side = "end",
        prompt: str | None = None,
        max_tokens: int | None = None,
        lane: Lane | None = None,
        client: str | None = None,
        deadline: float | None = None,
        wait_seconds: float = 0.0,
    ) -> Embeddings:
        """Turn texts into vectors.

        Args:
            texts: Texts, or their token ids.
            model: A served name or alias; None takes each output from its default model.
            dense: Give dense vectors.
            sparse: Give lexical weights.
            colbert: Give one vector for each token.
            normalize: None follows the model's recipe, False leaves dense vectors raw.
            dimensions: Cut dense vectors to this width (and then normalise them).
            truncate: Cut texts that are too long; False refuses them.
            truncation_side: The end of a long text that is lost.
            prompt: Set before every text.
            max_tokens: A shorter limit than the model's.
            lane: Interactive or bulk; None goes by the size of the request.
            client: Who asks; clients share a device fairly.
            deadline: On the clock of `time.monotonic`; what is not answered then is given up.
            wait_seconds: How long to wait at the door when the queue is full.
        """
        if not texts:
            raise EmptyInput("there is no text", field="texts")
        wanted = Output.NONE
        for asked, output in (
            (dense, Output.DENSE),
            (sparse, Output.SPARSE),
            (colbert, Output.COLBERT),
        ):
            wanted |= output if asked else Output.NONE
        self._check_ready()
        routes = self._roster.route(model, wanted)
        found: dict[Output, list[Vectors]] = {}
        cards: dict[Output, Card] = {}
        truncations: list[TextTruncation] = []
        tokens: list[int] = []
        for route in routes:
            if Output.DENSE in route.outputs:
                check_dimensions(dimensions, route.card)
            prepared = await asyncio.to_thread(
                self._replicas[0].models[route.name].model.prepare,
                texts,
                prompt=prompt,
                truncate=truncate,
                side=truncation_side,
                max_tokens=max_tokens,
            )
            tokens = tokens or [len(text.ids) for text in prepared]
            truncations += truncations_of(route.name, prepared)
            vectors = await self._forward(route, prepared)
            for output in route.outputs:
                cards[output], found[output] = route.card, vectors
        return Embeddings(
            dense=dense_of(
                found[Output.DENSE], cards[Output.DENSE], normalize=normalize, dimensions=dimensions
            )
            if dense
            else None,
            sparse=sparse_of(found[Output.SPARSE]) if sparse else None,
            colbert=colbert_of(found[Output.COLBERT]) if colbert else None,
            tokens=tokens,
            truncations=tuple(truncations),
            timings=Timings(0.0, 0.0, 0.0),
            cards=cards,
        )

    async def rerank(
        self,
        query: str,
        passages: Sequence[str],
        *,
        model: str | None = None,
        normalize: bool = True,
        instruction: str | None = None,
        max_tokens: int | None = None,
        lane: Lane | None = None,
        client: str | None = None,
        deadline: float | None = None,
        wait_seconds: float = 0.0,
    ) -> Ranking:
        """Score passages for a query; `normalize` gives probabilities, else raw logits."""
        if not passages:
            raise EmptyInput("there is no passage", field="passages")
        self._check_ready()
        [route] = self._roster.route(model, Output.SCORE)
        prepared = await asyncio.to_thread(
            self._replicas[0].models[route.name].model.prepare_pairs,
            query,
            passages,
            instruction=instruction,
            max_tokens=max_tokens,
        )
        vectors = await self._forward(route, prepared)
        return Ranking(
            scores=scores_of(vectors, route.card, normalize=normalize),
            tokens=[len(pair.ids) for pair in prepared],
            truncations=tuple(truncations_of(route.name, prepared)),
            timings=Timings(0.0, 0.0, 0.0),
            card=route.card,
        )

    async def tokenize(
        self,
        texts: Sequence[str],
        *,
        model: str | None = None,
        prompt: str | None = None,
        special: bool = True,
    ) -> list[list[Piece]]:
        """Say which characters became which token."""
        self._check_ready()
        return await asyncio.to_thread(
            self._model(model).tokenize, texts, prompt=prompt, special=special
        )

    async def decode(
        self, ids: Sequence[int], *, model: str | None = None, skip_special: bool = True
    ) -> str:
        """Turn token ids back into a text."""
        self._check_ready()
        return await asyncio.to_thread(self._model(model).decode, ids, skip_special=skip_special)

    @property
    def models(self) -> list[Card]:
        """Every served model."""
        return self._roster.cards

    def lookup(self, name: str | None = None, output: Output = Output.NONE) -> Card:
        """Return the model of that name or alias, or the default one for an output."""
        return self._roster.card(name, output)

    @property
    def health(self) -> Health:
        """What the probes ask."""
        return Health(
            state=self.state,
            alive=self.state is not State.FAILED,
            devices=tuple(replica.device for replica in self._replicas),
            progress=self._progress,
            failure=self._failure,
        )

    def queue(self) -> QueueSnapshot:
        """Count what is admitted and not yet answered."""
        return QueueSnapshot()

    def retry_after(self) -> float:
        """Seconds until there is room, by the measured drain rate."""
        return 1.0

    def statistics(self) -> Statistics:
        """Return the counts since the start."""
        return Statistics()

    def _model(self, name: str | None) -> Model:
        [route, *_] = self._roster.route(name, Output.NONE)
        return self._replicas[0].models[route.name].model

    def _check_ready(self) -> None:
        if self.state is not State.READY:
            raise Unavailable(f"the engine is {self.state}", retry_after=self.retry_after())

    def _report(self, progress: Progress) -> None:
        self._progress = progress
        if self._on_progress:
            self._on_progress(progress)

    async def _forward(self, route: Route, prepared: Sequence[Prepared]) -> list[Vectors]:
        model = self._replicas[0].models[route.name].model
        ids = [text.ids for text in prepared]
        async with self._one_at_a_time:
            answers = await asyncio.to_thread(
                model.forward, ids, [route.outputs] * len(ids), lambda: None
            )
        vectors = []
        for index, answer in enumerate(answers):
            if isinstance(answer, EmbedderError):
                answer.index = index
                raise answer
            vectors.append(answer)
        return vectors
