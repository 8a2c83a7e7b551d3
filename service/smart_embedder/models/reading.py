"""How a family reads what it is given: texts to embed, or pairs to rank. Knows no weights."""

from collections.abc import Sequence
from typing import Any

from smart_embedder.errors import InvalidInput
from smart_embedder.models.model import Card, Piece, Prepared, Side, Text
from smart_embedder.models.tokenization import Tokenizer


class _Reads:
    def __init__(self, card: Card, tokenizer: Tokenizer) -> None:
        self.card = card
        self._tokenizer = tokenizer

    def tokenize(
        self, texts: Sequence[str], *, prompt: str | None = None, special: bool = True
    ) -> list[list[Piece]]:
        """Say which characters became which token; never cuts."""
        return self._tokenizer.offsets(texts, prompt, special=special)

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Turn token ids back into a text."""
        return self._tokenizer.decode(ids, skip_special=skip_special)


class ReadsTexts(_Reads):
    """The reading half of a model that embeds."""

    def __init__(self, card: Card, tokenizer: Tokenizer, *, prompt: str | None = None) -> None:
        super().__init__(card, tokenizer)
        self._prompt = prompt

    def prepare(
        self,
        texts: Sequence[Text],
        *,
        prompt: str | None = None,
        truncate: bool = True,
        side: Side = "end",
        max_tokens: int | None = None,
    ) -> list[Prepared]:
        """Tokenize texts; thread-safe."""
        own = self._prompt if prompt is None else prompt
        return self._tokenizer.prepare(
            texts, own, truncate=truncate, side=side, max_tokens=max_tokens
        )

    def prepare_pairs(self, *_: Any, **__: Any) -> list[Prepared]:
        """Refuse: this is no reranker."""
        raise InvalidInput(f"{self.card.name} does not rerank", field="model")


class ReadsPairs(_Reads):
    """The reading half of a model that ranks, without instructions."""

    def prepare(self, *_: Any, **__: Any) -> list[Prepared]:
        """Refuse: this gives no vectors."""
        raise InvalidInput(f"{self.card.name} reranks only", field="model")

    def prepare_pairs(
        self,
        query: str,
        passages: Sequence[str],
        *,
        instruction: str | None = None,
        side: Side = "end",
        max_tokens: int | None = None,
    ) -> list[Prepared]:
        """Tokenize pairs; thread-safe."""
        if instruction is not None:
            raise InvalidInput(f"{self.card.name} takes no instruction", field="instruction")
        return self._tokenizer.prepare_pairs(query, passages, side=side, max_tokens=max_tokens)
