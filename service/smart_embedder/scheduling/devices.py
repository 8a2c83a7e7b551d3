"""The workers of all devices: each takes the next batch when it has finished one.

No batch waits for company: it forms while the device is busy with the one before. What comes out
of a pass goes to `deliver`; who asked for it is not known here.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from smart_embedder.errors import DeadlineExceeded, EmbedderError, ModelLoadFailed
from smart_embedder.models.model import Ids, Output
from smart_embedder.options import SchedulingOptions
from smart_embedder.scheduling.encode import Answer, Encoded
from smart_embedder.scheduling.job import Batch, Job
from smart_embedder.scheduling.observer import BatchFacts, Observer, Outcome
from smart_embedder.scheduling.pace import Pace
from smart_embedder.scheduling.queue import Queue
from smart_embedder.scheduling.replica import Replica
from smart_embedder.scheduling.worker import Order, Worker

UNLIMITED = 1 << 30
EXAMINE_SECONDS = 1.0
"""Between two looks at a sick device."""
JOIN_SECONDS = 2.0
"""An abandoned pass ends at its next layer; a thread that needs longer is stuck and left behind."""

Deliver = Callable[[Batch, Sequence[Answer], float], None]
"""Takes the answers of a batch, in order, and the seconds of its pass."""


@dataclass(frozen=True, slots=True)
class _Run:
    """One batch on one device."""

    order: Order
    batch: Batch
    facts: BatchFacts


class Devices:
    """All workers, sharing one queue."""

    def __init__(
        self,
        replicas: Sequence[Replica],
        options: SchedulingOptions,
        queue: Queue[Job],
        observer: Observer,
    ) -> None:
        self._workers = [Worker(replica, options) for replica in replicas]
        self._options = options
        self._queue = queue
        self._observer = observer
        self._arrived = asyncio.Event()
        self._running: dict[Worker, tuple[Order, Batch]] = {}
        self._canaries: dict[str, tuple[Ids, Output]] = {}

    @property
    def alive(self) -> bool:
        """Whether any device answers."""
        return any(worker.alive for worker in self._workers)

    def seconds(self, tokens: float) -> float:
        """Predict how long so many tokens take all devices together, by the measured rate."""
        rate = sum(worker.pace.rate for worker in self._workers if worker.alive)
        return tokens / rate if rate else 0.0

    async def warm_up(self, model: str, ids: Ids, wanted: Output, rounds: int, texts: int) -> None:
        """Run a model on every device; its text becomes the canary."""
        self._canaries[model] = ids, wanted
        for worker in self._workers:
            worker.start()
            for _ in range(rounds):
                # No limit: a first pass may read the weights from a slow disk.
                if error := await self._canary(worker, model, math.inf, texts):
                    raise ModelLoadFailed(f"{model} fails on {worker.device}: {error.message}")
            # A cold pass bounds the next ones, but it says nothing of how long anybody will wait.
            worker.pace = Pace()

    async def serve(self, deliver: Deliver) -> None:
        """Run batches until cancelled."""
        async with asyncio.TaskGroup() as group:
            for worker in self._workers:
                group.create_task(self._serve(worker, deliver), name=worker.device)

    def wake(self) -> None:
        """Say that something waits."""
        self._arrived.set()

    def abandon(self, job: Job) -> list[Batch]:
        """End the passes that only this job still waited for; say which."""
        ended = []
        for order, batch in self._running.values():
            mine = any(share is job for share, _ in batch.shares)
            if mine and not order.abandoned and not batch.anybody_waits():
                order.abandoned = True
                ended.append(batch)
        return ended

    async def stop(self) -> bool:
        """End the threads; say whether every one has ended and its models may be closed."""
        for worker in self._workers:
            worker.stop()
        ended = [await asyncio.to_thread(worker.join, JOIN_SECONDS) for worker in self._workers]
        return all(ended)

    async def _serve(self, worker: Worker, deliver: Deliver) -> None:
        run = self._begin(worker, await self._next(worker))
        while True:
            order = run.order
            await asyncio.wait({order.done}, timeout=order.limit)
            following = None
            if not order.done.done():
                self._overdue(run, deliver)
            elif order.done.result().failed:
                self._finished(run, deliver)
            else:
                # The device works on while the answers are handed out.
                following = self._begin_next(worker)
                self._finished(run, deliver)
            if (await order.done).all_raised:
                await self._examine(worker, run.batch)
            run = following or self._begin(worker, await self._next(worker))

    def _begin(self, worker: Worker, batch: Batch) -> _Run:
        limit = worker.limit(batch.model, batch.kind, batch.tokens)
        facts = self._facts(worker, batch)
        order = worker.run(batch.model, batch.ids, batch.wanted, limit)
        self._running[worker] = order, batch
        self._observer.batch_started(facts)
        return _Run(order, batch, facts)

    def _begin_next(self, worker: Worker) -> _Run | None:
        batch = self._cut(worker)
        return self._begin(worker, batch) if batch else None

    async def _next(self, worker: Worker) -> Batch:
        """Wait for texts and cut them; an idle device takes whatever comes first."""
        while True:
            if batch := self._cut(worker):
                return batch
            self._running.pop(worker, None)
            self._arrived.clear()
            await self._arrived.wait()
            if self._options.batch_window_seconds:
                await asyncio.sleep(self._options.batch_window_seconds)

    def _cut(self, worker: Worker) -> Batch | None:
        taken = self._queue.take(worker.budgets(), self._options.max_batch_texts or UNLIMITED)
        return Batch(taken[0][0].model, taken) if taken else None

    def _finished(self, run: _Run, deliver: Deliver) -> None:
        encoded, facts = run.order.done.result(), run.facts
        deliver(run.batch, encoded.answers, encoded.seconds)
        for _ in encoded.overflows:
            self._observer.out_of_memory(facts.device)
        if isinstance(encoded.stopped, DeadlineExceeded):
            self._observer.timed_out(facts.kind)
        self._observer.batch_finished(facts, encoded.seconds, _outcome(encoded))

    def _overdue(self, run: _Run, deliver: Deliver) -> None:
        """Answer those who wait for a pass that neither ends nor reaches a checkpoint."""
        limit, facts = run.order.limit, run.facts
        error = DeadlineExceeded(f"the pass took more than {limit:.0f} s", limit=limit)
        deliver(run.batch, [error] * len(run.batch.ids), limit)
        self._observer.timed_out(facts.kind)
        self._observer.batch_finished(facts, limit, "timeout")

    async def _examine(self, worker: Worker, batch: Batch) -> None:
        """Not one text came through: let the worker work again only when its canary does."""
        ids, _ = self._canaries[batch.model]
        limit = worker.limit(batch.model, batch.kind, len(ids))
        while await self._canary(worker, batch.model, limit):
            worker.sick = True
            await asyncio.sleep(EXAMINE_SECONDS)
        worker.sick = False

    async def _canary(
        self, worker: Worker, model: str, limit: float, texts: int = 1
    ) -> EmbedderError | None:
        """Run a text that is known to be good; return what went wrong."""
        ids, wanted = self._canaries[model]
        encoded = await worker.run(model, [ids] * texts, [wanted] * texts, limit).done
        return next((each for each in encoded.answers if isinstance(each, EmbedderError)), None)

    def _facts(self, worker: Worker, batch: Batch) -> BatchFacts:
        return BatchFacts(
            device=worker.device,
            model=batch.model,
            kind=batch.kind,
            lane=batch.lane,
            texts=len(batch.ids),
            tokens=batch.tokens,
            fill=batch.tokens / worker.budgets()[batch.model],
            traces=tuple(job.ticket.trace for job, _ in batch.shares),
        )


def _outcome(encoded: Encoded) -> Outcome:
    if isinstance(encoded.stopped, DeadlineExceeded):
        return "timeout"
    if encoded.stopped:
        return "cancelled"
    return "error" if encoded.failed else "success"
