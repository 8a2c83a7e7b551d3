"""Requests to passes and back: where the door, the queue, the cache and the devices meet.

Everything here runs on the event loop's thread; only `Worker` leaves it. A request ends exactly
once: answered, failed, given up by its caller, or ended with the engine.
"""

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from smart_embedder.errors import DeadlineExceeded, EmbedderError, EncodingFailed, Unavailable
from smart_embedder.models.model import Ids, Model, Output, Vectors
from smart_embedder.options import SchedulingOptions
from smart_embedder.scheduling.admission import Door
from smart_embedder.scheduling.cache import Cache
from smart_embedder.scheduling.devices import Devices
from smart_embedder.scheduling.encode import Answer
from smart_embedder.scheduling.flights import Flights
from smart_embedder.scheduling.job import Batch, Job, Ticket
from smart_embedder.scheduling.observer import Answered, Kind, Lane, Loss, Observer, Outcome
from smart_embedder.scheduling.queue import Queue
from smart_embedder.scheduling.replica import Replica
from smart_embedder.scheduling.statistics import QueueSnapshot, Tally

QUEUE_PASSES = 64
"""Without a limit of its own, each lane holds the tokens of so many full passes of each device."""

ANSWERS_A_TURN = 4
"""Requests that go on to be answered between two looks at the sockets: a pass may end hundreds at
once, and whoever is refused meanwhile should not wait for all of them to be written."""
WARM_UP = "A text that every model reads before the first request, and again when it looks sick."


@dataclass(frozen=True, slots=True)
class Part:
    """What one model has to do for a request."""

    model: str
    outputs: Output
    ids: Sequence[Ids]


class Scheduler:
    """Admits requests, lets equal texts share a pass, and hands vectors back."""

    def __init__(
        self,
        replicas: Sequence[Replica],
        options: SchedulingOptions,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tally = Tally(observer)
        self._queue: Queue[Job] = Queue(clock)
        self._devices = Devices(replicas, options, self._queue, self.tally)
        self._door = Door(options, _max_tokens(replicas, options), self._devices, self.tally, clock)
        self._cache = Cache(options.cache_entries)
        self._flights = Flights()
        self._fingerprints = {
            name: placed.model.card.fingerprint for name, placed in replicas[0].models.items()
        }
        self._clock = clock
        self._jobs: set[Job] = set()
        self._turns = asyncio.Semaphore(ANSWERS_A_TURN)
        self._ended: Unavailable | None = None

    @property
    def alive(self) -> bool:
        """Whether any device answers."""
        return self._devices.alive

    async def warm_up(self, name: str, model: Model, rounds: int, texts: int) -> None:
        """Run a model on every device before anybody waits for it."""
        outputs = model.card.outputs
        if Output.SCORE in outputs:
            [prepared] = model.prepare_pairs(WARM_UP, [WARM_UP])
        else:
            [prepared] = model.prepare([WARM_UP])
        await self._devices.warm_up(name, prepared.ids, outputs, rounds, texts)

    async def stop(self) -> bool:
        """End the threads; say whether all have ended, so that models may be closed."""
        return await self._devices.stop()

    async def run(self) -> None:
        """Serve until cancelled; whatever ends it, nobody is left waiting."""
        try:
            await self._devices.serve(self._deliver)
        finally:
            self.end()

    @asynccontextmanager
    async def request(self, ticket: Ticket, wait_seconds: float = 0.0) -> AsyncIterator[None]:
        """Hold a place for one request from its admission to its answer."""
        ticket.trace = self.tally.trace()
        await self._door.enter(ticket, wait_seconds)
        ticket.admitted = self._clock()
        outcome: Outcome = "error"
        try:
            async with asyncio.timeout(self._left(ticket)):
                yield
            outcome = "success"
        except TimeoutError as error:
            outcome = "timeout"
            raise DeadlineExceeded("the time for this request is over") from error
        except DeadlineExceeded:
            outcome = "timeout"
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._leave(ticket, outcome)

    async def compute(self, ticket: Ticket, parts: Sequence[Part]) -> list[list[Vectors]]:
        """Turn ids into vectors, each part in its own order."""
        if self._ended:
            raise self._ended
        jobs = [self._job(ticket, part) for part in parts]
        try:
            self._door.settle(ticket, sum(self._submit(job) for job in jobs))
            await asyncio.gather(*(job.future for job in jobs))
            async with self._turns:
                await asyncio.sleep(0)
            return [job.vectors() for job in jobs]
        finally:
            for job in jobs:
                self._drop(job, self._loss(ticket))

    def close(self, why: str) -> None:
        """Admit nobody any more."""
        self._door.close(why)

    async def drain(self, seconds: float) -> int:
        """Wait for everything admitted, at most so long; return how many requests were left."""
        try:
            async with asyncio.timeout(seconds):
                await self._door.empty.wait()
        except TimeoutError:
            return len(self._door.inside)
        return 0

    def end(self) -> None:
        """Fail whatever is left."""
        self._ended = Unavailable("the engine has stopped")
        self._door.close(self._ended.message)
        for job in tuple(self._jobs):
            job.fail(self._ended)
            self._drop(job, "stopped")

    def snapshot(self) -> QueueSnapshot:
        """Count what is admitted and not yet answered."""
        tokens = sum(self._door.tokens.values())
        return QueueSnapshot(
            depth=len(self._door.inside),
            interactive_depth=self._door.count(lane=Lane.INTERACTIVE),
            rerank_depth=self._door.count(kind=Kind.RERANK),
            waiting=len(self._queue),
            tokens=tokens,
            oldest_wait_seconds=self._queue.oldest_wait,
            estimated_drain_seconds=self._devices.seconds(tokens),
        )

    def retry_after(self) -> float:
        """Seconds until there is room, by the measured drain rate."""
        return self._door.retry_after()

    def _job(self, ticket: Ticket, part: Part) -> Job:
        future = asyncio.get_running_loop().create_future()
        job = Job(ticket, part.model, part.outputs, part.ids, future)
        self._jobs.add(job)
        return job

    def _submit(self, job: Job) -> int:
        """Queue what is neither known nor on its way; return the tokens to compute."""
        unknown = self._look_up(job)
        own = self._flights.board(job, unknown)
        if len(own) < len(unknown):
            self.tally.deduplicated(len(unknown) - len(own))
        texts = [(len(job.ids[slot]), slot) for slot in own]
        if texts:
            self._queue.push(job, job.model, (job.ticket.lane, job.ticket.client), texts)
            self._devices.wake()
        return sum(length for length, _ in texts)

    def _look_up(self, job: Job) -> Sequence[int]:
        """Fill the slots that the cache knows; return the others."""
        if not self._cache:
            return range(len(job.ids))
        unknown = []
        fingerprint = self._fingerprints[job.model]
        for slot, key in enumerate(job.keys):
            if known := self._cache.get(fingerprint, key, job.outputs):
                job.fill(slot, known)
            else:
                unknown.append(slot)
        self.tally.cache_looked_up(job.model, len(job.ids) - len(unknown), len(unknown))
        return unknown

    def _deliver(self, batch: Batch, answers: Sequence[Answer], seconds: float) -> None:
        found = iter(answers)
        for job, slots in batch.shares:
            job.ticket.inference += seconds
            self._door.pay(job.ticket, sum(len(job.ids[slot]) for slot in slots))
            for slot in slots:
                self._land(job, slot, next(found))

    def _land(self, job: Job, slot: int, answer: Answer) -> None:
        for waiting, place in self._flights.land(job, slot):
            if isinstance(answer, Vectors):
                waiting.fill(place, answer)
            else:
                self._fail(waiting, place, answer)
        if self._cache and isinstance(answer, Vectors):
            self._cache.put(self._fingerprints[job.model], job.keys[slot], job.outputs, answer)

    def _fail(self, job: Job, slot: int, error: EmbedderError) -> None:
        """Fail one request; the error is its own, because several may share one pass."""
        own = copy.copy(error)
        own.index = slot if isinstance(error, EncodingFailed) else None
        job.fail(own)
        self._drop(job, "failed")

    def _drop(self, job: Job, reason: Loss) -> None:
        """Let go of a job: what only it waited for costs no pass any more."""
        if job not in self._jobs:
            return
        self._jobs.remove(job)
        job.give_up()
        if not job.missing:
            return
        for each in (job, *job.following):
            if each.over:
                self._prune(each, reason)
            for batch in self._devices.abandon(each):
                for running, slots in batch.shares:
                    self._forget(running, slots)

    def _prune(self, job: Job, reason: Loss) -> None:
        waiting = self._queue.waiting(job)
        gone = {slot for slot in waiting if not job.wanted(slot)}
        if gone:
            self._queue.keep(job, set(waiting) - gone)
            self._forget(job, gone)
            self.tally.dropped(reason, len(gone))

    def _forget(self, job: Job, slots: Iterable[int]) -> None:
        for slot in slots:
            self._flights.forget(job, slot)

    def _leave(self, ticket: Ticket, outcome: Outcome) -> None:
        self._door.leave(ticket)
        elapsed = self._clock() - ticket.admitted
        ticket.queue = max(elapsed - ticket.tokenize - ticket.inference, 0.0)
        self.tally.answered(
            Answered(
                kind=ticket.kind,
                lane=ticket.lane,
                outcome=outcome,
                texts=ticket.texts,
                tokens=ticket.size,
                tokenize=ticket.tokenize,
                queue=ticket.queue,
                inference=ticket.inference,
            )
        )

    def _left(self, ticket: Ticket) -> float | None:
        return None if ticket.deadline is None else ticket.deadline - self._clock()

    def _loss(self, ticket: Ticket) -> Loss:
        left = self._left(ticket)
        return "deadline" if left is not None and left <= 0 else "disconnected"


def _max_tokens(replicas: Sequence[Replica], options: SchedulingOptions) -> int:
    if options.max_queue_tokens is not None:
        return options.max_queue_tokens
    budgets = (
        max(placed.batch_tokens for placed in replica.models.values()) for replica in replicas
    )
    return QUEUE_PASSES * sum(budgets)
