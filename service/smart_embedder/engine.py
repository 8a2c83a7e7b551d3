"""The engine: texts in, vectors and scores out, for the HTTP service and for any Python program.

It owns the life of the models and of the scheduler, and the way of a request through them; it
knows nothing of HTTP.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Self

from smart_embedder.assembly import Computed, check_dimensions, embeddings_of, ranking_of
from smart_embedder.errors import ModelNotFound, Unavailable
from smart_embedder.loading import Loader, beside, load
from smart_embedder.models.model import Card, Model, Output, Piece, Prepared, Side, Text
from smart_embedder.options import EngineOptions
from smart_embedder.results import Embeddings, Health, Progress, Ranking, State
from smart_embedder.roster import Roster, Route, outputs_of
from smart_embedder.scheduling.job import Ticket
from smart_embedder.scheduling.observer import Kind, Lane, Observer, Silent
from smart_embedder.scheduling.replica import Replica
from smart_embedder.scheduling.scheduler import Part, Scheduler
from smart_embedder.scheduling.statistics import QueueSnapshot, Statistics
from smart_embedder.tokenizing import Item, Tokenizers, check_texts, estimate


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
        self._tokenizers = Tokenizers(self.options.tokenizer_workers)
        self._scheduler: Scheduler | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load and warm every model; raises `StartupFailed` with its reason."""
        try:
            self._replicas = await beside(partial(self._load, self.options, self._report))
            cards = {name: placed.model.card for name, placed in self._replicas[0].models.items()}
            self._roster = Roster(self.options, cards)
            self._scheduler = Scheduler(self._replicas, self.options.scheduling, self._observer)
            await self._warm_up(self._scheduler)
        except Exception as error:
            self.state, self._failure = State.FAILED, str(error)
            await self._give_back()
            raise
        self._serving = asyncio.create_task(self._scheduler.run(), name="engine")
        self._serving.add_done_callback(self._ended)
        self.state = State.READY

    async def stop(self, drain_seconds: float = 30.0) -> int:
        """Finish what is admitted within the budget, then give the models back.

        Returns:
            How many requests had to be failed because the budget was over.
        """
        left = 0
        if self._scheduler and self._serving:
            self.state = State.DRAINING
            self._scheduler.close("the engine is draining")
            left = await self._scheduler.drain(drain_seconds)
            self._serving.cancel()
            await asyncio.wait({self._serving})
        await self._give_back()
        self.state = State.STOPPED
        return left

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
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
            dimensions: Cut dense vectors to this width, before they are normalised.
            truncate: Cut texts that are too long; False refuses them.
            truncation_side: The end of a long text that is lost.
            prompt: Set before every text.
            max_tokens: A shorter limit than the model's.
            lane: Interactive or bulk; None goes by the number of texts.
            client: Who asks; clients share a device fairly.
            deadline: On the clock of `time.monotonic`; what is not answered then is given up.
            wait_seconds: How long to wait at the door when the queue is full, by the deadline at
                the latest.
        """
        check_texts(texts, "texts")
        self._check_ready()
        wanted = outputs_of(dense=dense, sparse=sparse, colbert=colbert)
        routes = self._roster.route(model, wanted)
        for route in routes:
            check_dimensions(dimensions, route)
        ticket = Ticket.of(Kind.EMBED, len(texts), lane, client, deadline)
        ticket.tokens = sum(estimate(texts, route.card.max_tokens) for route in routes)

        def prepare(model: Model, texts: Sequence[Text]) -> list[Prepared]:
            return model.prepare(
                texts, prompt=prompt, truncate=truncate, side=truncation_side, max_tokens=max_tokens
            )

        parts = await self._compute(ticket, routes, prepare, texts, wait_seconds)
        return embeddings_of(parts, ticket, normalize=normalize, dimensions=dimensions)

    async def rerank(
        self,
        query: str,
        passages: Sequence[str],
        *,
        model: str | None = None,
        normalize: bool = True,
        instruction: str | None = None,
        truncation_side: Side = "end",
        max_tokens: int | None = None,
        lane: Lane | None = None,
        client: str | None = None,
        deadline: float | None = None,
        wait_seconds: float = 0.0,
    ) -> Ranking:
        """Score passages for a query; `normalize` gives probabilities, else raw logits.

        `truncation_side` is the end that a long passage loses; a long query loses its end.
        """
        check_texts(passages, "passages")
        self._check_ready()
        routes = self._roster.route(model, Output.SCORE)
        longest = routes[0].card.max_tokens
        ticket = Ticket.of(Kind.RERANK, len(passages), lane, client, deadline)
        ticket.tokens = len(passages) * estimate([query], longest) + estimate(passages, longest)

        def prepare(model: Model, passages: Sequence[str]) -> list[Prepared]:
            return model.prepare_pairs(
                query,
                passages,
                instruction=instruction,
                side=truncation_side,
                max_tokens=max_tokens,
            )

        [part] = await self._compute(ticket, routes, prepare, passages, wait_seconds)
        return ranking_of(part, ticket, normalize=normalize)

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
        tokenize = self._reader(model).tokenize
        return await self._tokenizers.call(partial(tokenize, texts, prompt=prompt, special=special))

    async def decode(
        self, ids: Sequence[int], *, model: str | None = None, skip_special: bool = True
    ) -> str:
        """Turn token ids back into a text."""
        self._check_ready()
        decode = self._reader(model).decode
        return await self._tokenizers.call(partial(decode, ids, skip_special=skip_special))

    @property
    def models(self) -> list[Card]:
        """Every served model."""
        return self._roster.cards

    @property
    def aliases(self) -> dict[str, Card]:
        """The models that were given another name, by that name."""
        return self._roster.aliases

    def lookup(self, name: str | None = None, output: Output = Output.NONE) -> Card:
        """Return the model of that name or alias, or the default one for an output."""
        return self._roster.route(name, output)[0].card

    def name_of(self, output: Output) -> str | None:
        """Name the model that gives this output where none is asked for, None when none does."""
        try:
            return self.lookup(None, output).name
        except ModelNotFound:
            return None

    @property
    def health(self) -> Health:
        """What the probes ask."""
        alive = self.state is not State.FAILED
        if self._scheduler and self.state in {State.READY, State.DRAINING}:
            alive = self._scheduler.alive
        return Health(
            state=self.state,
            alive=alive,
            devices=tuple(replica.device for replica in self._replicas),
            progress=self._progress,
            failure=self._failure,
            batch_tokens=max(
                (placed.batch_tokens for r in self._replicas for placed in r.models.values()),
                default=None,
            ),
        )

    def queue(self) -> QueueSnapshot:
        """Count what is admitted and not yet answered."""
        return self._scheduler.snapshot() if self._scheduler else QueueSnapshot()

    def retry_after(self) -> float:
        """Seconds until there is room, by the measured drain rate."""
        return self._scheduler.retry_after() if self._scheduler else 1.0

    def statistics(self) -> Statistics:
        """Return the counts since the start."""
        return self._scheduler.tally.counts if self._scheduler else Statistics()

    async def _compute(
        self,
        ticket: Ticket,
        routes: Sequence[Route],
        prepare: Callable[[Model, Sequence[Item]], list[Prepared]],
        items: Sequence[Item],
        wait_seconds: float,
    ) -> list[Computed]:
        """Go the way of every request: admit, tokenize, wait for the vectors."""
        scheduler = self._check_ready()
        models = [self._model(route.name) for route in routes]
        async with scheduler.request(ticket, wait_seconds):
            started = time.monotonic()
            texts = [
                await self._tokenizers.prepare(partial(prepare, model), items) for model in models
            ]
            ticket.tokenize = time.monotonic() - started
            ticket.size = sum(len(text.ids) for text in texts[0])
            parts = [
                Part(route.name, route.outputs, [text.ids for text in prepared])
                for route, prepared in zip(routes, texts, strict=True)
            ]
            vectors = await scheduler.compute(ticket, parts)
        return list(map(Computed, routes, texts, vectors))

    async def _warm_up(self, scheduler: Scheduler) -> None:
        """Run every model before anybody waits for it."""
        options = self.options
        for name, placed in self._replicas[0].models.items():
            self._report(Progress(stage="warming", model=name))
            await scheduler.warm_up(name, placed.model, options.warmup_rounds, options.warmup_texts)

    async def _give_back(self) -> None:
        """Close the models once, unless a thread is stuck in one of them."""
        replicas, self._replicas = self._replicas, ()
        if self._scheduler is None or await self._scheduler.stop():
            for replica in replicas:
                for placed in replica.models.values():
                    placed.model.close()
        self._tokenizers.stop()

    def _model(self, name: str) -> Model:
        """Any device's tokenizer will do."""
        return self._replicas[0].models[name].model

    def _reader(self, name: str | None) -> Model:
        return self._model(self._roster.route(name, Output.NONE)[0].name)

    def _check_ready(self) -> Scheduler:
        if self._scheduler is None or self.state is not State.READY:
            raise Unavailable(f"the engine is {self.state}", retry_after=self.retry_after())
        return self._scheduler

    def _report(self, progress: Progress) -> None:
        self._progress = progress
        if self._on_progress:
            self._on_progress(progress)

    def _ended(self, serving: asyncio.Task[None]) -> None:
        """The scheduler never ends by itself; when it does, say so to the probes."""
        if not serving.cancelled() and (error := serving.exception()):
            self.state, self._failure = State.FAILED, repr(error)
