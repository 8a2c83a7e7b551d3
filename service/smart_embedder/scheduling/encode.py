"""One batch through one model so that only the guilty are hurt.

A pass that raises is cut in halves until the texts that make it raise stand alone; one that does
not fit the device is halved as well. Every halving ends at single texts, so nothing loops.
"""

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from smart_embedder.errors import (
    Cancelled,
    DeadlineExceeded,
    EmbedderError,
    EncodingFailed,
    OutOfMemory,
)
from smart_embedder.models.model import Checkpoint, Ids, Model, Output, Vectors

Answer = Vectors | EmbedderError

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Encoded:
    """The answers of one batch, in order, and what it took."""

    answers: list[Answer] = field(default_factory=list)
    overflows: list[int] = field(default_factory=list)
    """Tokens of each pass that did not fit."""
    seconds: float = 0.0
    stopped: EmbedderError | None = None
    """Why the whole batch ended early."""

    @property
    def failed(self) -> bool:
        """Some text got no vector."""
        return any(isinstance(answer, EmbedderError) for answer in self.answers)

    @property
    def all_raised(self) -> bool:
        """Not one text came through: the device may be sick, not the texts."""
        return all(type(answer) is EncodingFailed for answer in self.answers)


def encode(
    model: Model,
    ids: Sequence[Ids],
    wanted: Sequence[Output],
    checkpoint: Checkpoint,
    clock: Callable[[], float] = time.monotonic,
) -> Encoded:
    """Run a batch to its end; never raises."""
    encoded = Encoded()
    started = clock()
    try:
        _run(model, ids, wanted, checkpoint, encoded)
    except (Cancelled, DeadlineExceeded) as stop:
        encoded.stopped = stop.with_traceback(None)
        encoded.answers = [encoded.stopped] * len(ids)
    encoded.seconds = clock() - started
    return encoded


def _run(
    model: Model,
    ids: Sequence[Ids],
    wanted: Sequence[Output],
    checkpoint: Checkpoint,
    encoded: Encoded,
) -> None:
    found = _attempt(model, ids, wanted, checkpoint)
    if isinstance(found, list):
        encoded.answers += found
        return
    if isinstance(found, OutOfMemory):
        encoded.overflows.append(sum(map(len, ids)))
    if len(ids) == 1:
        encoded.answers.append(found)
        return
    middle = len(ids) // 2
    for half in (slice(None, middle), slice(middle, None)):
        _run(model, ids[half], wanted[half], checkpoint, encoded)


def _attempt(
    model: Model, ids: Sequence[Ids], wanted: Sequence[Output], checkpoint: Checkpoint
) -> list[Answer] | EncodingFailed:
    """Run one pass. Errors come back new: a traceback would keep the pass's tensors in memory."""
    try:
        answers = model.forward(ids, wanted, checkpoint)
        if len(answers) != len(ids):
            return EncodingFailed(f"the model gave {len(answers)} answers for {len(ids)} texts")
    except (Cancelled, DeadlineExceeded):
        raise
    except OutOfMemory as error:
        return OutOfMemory(error.message)
    except Exception as error:  # noqa: BLE001 - whatever a forward pass raises is this text's fate
        _tell(error, model, len(ids))
        return EncodingFailed(f"the forward pass failed: {type(error).__name__}")
    for answer in answers:
        _lock(answer)
    return answers


def _lock(answer: Answer) -> None:
    """Let nobody write into what equal texts, of other callers too, are answered with.

    Dense vectors and scores are copied into each caller's own rows.
    """
    if isinstance(answer, EmbedderError):
        return
    for part in (answer.sparse_ids, answer.sparse_weights, answer.token_weights, answer.colbert):
        if part is not None:
            part.setflags(write=False)


def _tell(error: Exception, model: Model, texts: int) -> None:
    """Log where it failed, never the message: that may hold a text."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    log.warning(
        "pass failed",
        model=model.card.name,
        texts=texts,
        error=type(error).__name__,
        where=f"{place.filename}:{place.lineno}",
    )
