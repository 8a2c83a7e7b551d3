"""The thread of one device: one pass after the other, with a heartbeat and a hard limit.

It hands results back to the event loop and takes no decision about what runs next.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue

from smart_embedder.errors import Cancelled, DeadlineExceeded
from smart_embedder.models.model import Ids, Output
from smart_embedder.options import SchedulingOptions
from smart_embedder.scheduling.encode import Encoded, encode
from smart_embedder.scheduling.observer import Kind
from smart_embedder.scheduling.pace import Budget, Pace
from smart_embedder.scheduling.replica import Replica

CPU_SECONDS = 30.0
CUDA_SECONDS = 15.0
"""Hard limits of an embedding pass: the seeds' GPU_PROCESS_TIMEOUT."""
GENEROSITY = 3.0
"""A pass may take so many times its predicted cost: a long text on a slow CPU is not a hang."""


@dataclass(slots=True, eq=False)
class Order:
    """One batch for the thread."""

    model: str
    ids: Sequence[Ids]
    wanted: Sequence[Output]
    limit: float
    done: asyncio.Future[Encoded]
    abandoned: bool = False


class Worker:
    """One device, one thread, never two passes at once."""

    def __init__(
        self,
        replica: Replica,
        options: SchedulingOptions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.device = replica.device
        self.sick = False
        """The canary has failed: not the texts are at fault, the device is."""
        self.pace = Pace()
        self.paces = {name: Pace() for name in replica.models}
        self._models = {name: placed.model for name, placed in replica.models.items()}
        self._budgets = {
            name: Budget(options.max_batch_tokens or placed.batch_tokens, options.batch_seconds)
            for name, placed in replica.models.items()
        }
        self._options = options
        self._clock = clock
        self._beat = clock()
        self._order: Order | None = None
        self._inbox: SimpleQueue[Order | None] = SimpleQueue()
        # A daemon, because a thread that is stuck in a device must not keep the process.
        self._thread = threading.Thread(
            target=self._live, name=f"{self.device} worker", daemon=True
        )

    def start(self) -> None:
        """Start the thread, once."""
        if not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        """Let the thread end: a running pass at its next checkpoint."""
        if order := self._order:
            order.abandoned = True
        self._inbox.put(None)

    def join(self, seconds: float) -> bool:
        """Wait for the thread to end, at most so long; say whether it did."""
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether the thread idles or has shown a heartbeat within the limit of its pass."""
        order = self._order
        beats = order is None or self._clock() - self._beat <= order.limit
        return beats and not self.sick and self._thread.is_alive()

    def budgets(self) -> dict[str, int]:
        """Tokens of the next pass of each model."""
        return {name: budget.tokens(self.paces[name]) for name, budget in self._budgets.items()}

    def limit(self, model: str, kind: Kind, tokens: int) -> float:
        """Seconds that a pass may take."""
        own = self._options.embed_timeout_seconds
        usual = CUDA_SECONDS if self.device.startswith("cuda") else CPU_SECONDS
        hard = usual if own is None else own
        if kind is Kind.RERANK:
            hard = self._options.rerank_timeout_seconds
        return max(hard, GENEROSITY * self.paces[model].seconds(tokens))

    def run(self, model: str, ids: Sequence[Ids], wanted: Sequence[Output], limit: float) -> Order:
        """Give the thread a batch; `Order.done` holds what came of it."""
        done = asyncio.get_running_loop().create_future()
        self._order = Order(model, ids, wanted, limit, done)
        self._beat = self._clock()
        self._inbox.put(self._order)
        return self._order

    def _live(self) -> None:
        while order := self._inbox.get():
            encoded = self._encode(order)
            # The loop is closed when a stuck pass ends after everybody has gone.
            with suppress(RuntimeError):
                order.done.get_loop().call_soon_threadsafe(self._finish, order, encoded)

    def _encode(self, order: Order) -> Encoded:
        ends = self._clock() + order.limit

        def checkpoint() -> None:
            self._beat = self._clock()
            if order.abandoned:
                raise Cancelled("nobody waits for this batch any more")
            if self._beat > ends:
                raise DeadlineExceeded(
                    f"the pass took more than {order.limit:.0f} s", limit=order.limit
                )

        model = self._models[order.model]
        return encode(model, order.ids, order.wanted, checkpoint, self._clock)

    def _finish(self, order: Order, encoded: Encoded) -> None:
        """On the loop: learn from the pass and hand it over."""
        self._order = None
        tokens = sum(map(len, order.ids))
        if encoded.stopped is None:
            self.pace.measured(tokens, encoded.seconds)
            self.paces[order.model].measured(tokens, encoded.seconds)
            self._learn(self._budgets[order.model], tokens, encoded)
        if not order.done.done():
            order.done.set_result(encoded)

    def _learn(self, budget: Budget, tokens: int, encoded: Encoded) -> None:
        for overflow in encoded.overflows:
            budget.overflowed(overflow)
        if not encoded.overflows:
            budget.fitted(tokens)
