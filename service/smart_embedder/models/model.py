"""The seam between scheduling and models: token ids in, vectors or scores out.

A `Model` is one set of weights on one device. It knows nothing of requests, queues or HTTP; the
scheduler knows nothing of torch. Tests put a model of their own here.
"""

import enum
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from smart_embedder.errors import EmbedderError

Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Side = Literal["start", "end"]
Text = str | Sequence[int]
"""A text, or its token ids where a dialect lets the client tokenize."""

RECIPES: Mapping[str, int] = {"int8": 2}
"""How a dtype rounds where that is ours to choose: raised by a change that moves its vectors.

The operator's `recipes` says the same, so that it migrates there instead of rolling.
"""


class Output(enum.Flag):
    """What one text can be turned into."""

    NONE = 0
    DENSE = enum.auto()
    SPARSE = enum.auto()
    COLBERT = enum.auto()
    SCORE = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a served model is: the facts its vectors depend on, and those a client may ask for."""

    name: str
    family: str
    revision: str
    """The resolved commit, or a hash of the files for a folder."""
    outputs: Output
    dtype: str
    engine: str
    pooling: str
    max_tokens: int
    dimensions: int = 0
    """Width of the dense vector; 0 where there is none."""
    matryoshka: bool = False
    """Trained so that a cut, renormalised vector is still good."""
    vocabulary: int = 0
    normalized: bool = True
    """The model's own recipe ends in a dense vector of length one."""
    probabilities: bool = False
    """A reranker whose score is already a probability; normalising it changes nothing."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """What the model was trained to see before a text, by the name of the use."""

    @property
    def recipe(self) -> int | None:
        """How its dtype rounds, None where that is not ours to choose."""
        return RECIPES.get(self.dtype)

    @property
    def fingerprint(self) -> str:
        """Two vectors may be compared only when this is equal."""
        dtype = self.dtype if self.recipe is None else f"{self.dtype} {self.recipe}"
        facts = (self.name, self.revision, dtype, self.engine, self.pooling, self.max_tokens)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Truncation:
    """A text was longer than its model takes."""

    original: int
    kept: int
    side: Side
    part: Literal["text", "query", "passage"] = "text"
    """What was cut: a text to embed, or a half of a pair to rerank."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One text (or pair) as the model will read it: final ids, special tokens included."""

    ids: Ids
    truncations: tuple[Truncation, ...] = ()


@dataclass(frozen=True, slots=True)
class Vectors:
    """What came out for one text; only the outputs that were wanted are there.

    `dense` is as the model's own recipe pools it, before any normalisation; sparse ids are sorted.
    Equal texts share one of these, so what is handed out uncopied (all but `dense`) is made
    read-only as it comes from the model.
    """

    dense: Floats | None = None
    sparse_ids: Ids | None = None
    sparse_weights: Floats | None = None
    token_weights: Floats | None = None
    """With the sparse ones: of each token where it stands, special tokens left out."""
    colbert: Floats | None = None
    score: float | None = None
    """The raw logit (yes minus no for generative rerankers)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One token as a person may look at it; special tokens have no place in the text."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


Checkpoint = Callable[[], None]
"""Called between layers: beats the heart of the worker, and raises when the pass must stop."""


class Model(Protocol):
    """One set of weights on one device."""

    @property
    def card(self) -> Card:
        """What this model is."""
        ...

    def prepare(
        self,
        texts: Sequence[Text],
        *,
        prompt: str | None = None,
        truncate: bool = True,
        side: Side = "end",
        max_tokens: int | None = None,
    ) -> list[Prepared]:
        """Tokenize texts; thread-safe. Raises `InvalidInput` naming the index."""
        ...

    def prepare_pairs(
        self,
        query: str,
        passages: Sequence[str],
        *,
        instruction: str | None = None,
        side: Side = "end",
        max_tokens: int | None = None,
    ) -> list[Prepared]:
        """Tokenize query-passage pairs; `side` is what a long passage loses; thread-safe.

        Only rerankers have it.
        """
        ...

    def tokenize(
        self, texts: Sequence[str], *, prompt: str | None = None, special: bool = True
    ) -> list[list[Piece]]:
        """Say which characters became which token; never cuts."""
        ...

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Turn token ids back into a text."""
        ...

    def forward(
        self, batch: Sequence[Ids], wanted: Sequence[Output], checkpoint: Checkpoint
    ) -> list[Vectors | EmbedderError]:
        """Run one packed pass, one answer for each text, in order; called by one thread at a time.

        A text whose numbers are not finite (in fp32 too) gets `NonFiniteOutput` in its place; a
        pass that does not fit raises `OutOfMemory`; anything else raised fails the whole pass.
        """
        ...

    def close(self) -> None:
        """Give the memory back."""
        ...
