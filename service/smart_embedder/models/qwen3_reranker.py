"""Qwen3-Reranker: asks the model whether a document meets a query, and reads yes minus no.

The prompt's beginning and end are fixed; only the document, and at last the query, give way where
the whole is too long, so the place where the answer is read is never cut off.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from smart_embedder.models.decoder import Decoder, Shape
from smart_embedder.models.model import (
    Card,
    Ids,
    Output,
    Prepared,
    Side,
    Truncation,
)
from smart_embedder.models.scoring import ScoreModel
from smart_embedder.models.tokenization import NO_IDS, QUERY_SHARE, Tokenizer, cut
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device, dtype_name, resolve_dtype
from smart_embedder.runtime.packing import Pack
from smart_embedder.runtime.weights import Weights, revision_of

LONGEST = 32768
"""Tokens of a pair unless told otherwise (QWEN_RERANK_MAX_LENGTH's default)."""

INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
BEGIN = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
END = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def load(folder: Path, options: ModelOptions, device: Device) -> "Qwen3Reranker":
    """Load a Qwen3-Reranker of any size from a folder."""
    shape = Shape.read(folder)
    # Never float16: the larger ones overflow it (QwenLM/Qwen3-Embedding#164).
    dtype = resolve_dtype(options.dtype, device, family_allows_fp16=False)
    tokenizer = Tokenizer.load(
        folder, max_tokens=min(options.max_tokens or LONGEST, shape.positions)
    )
    card = Card(
        name=options.name,
        family="qwen3-reranker",
        revision=revision_of(folder),
        outputs=Output.SCORE,
        dtype=dtype_name(dtype),
        engine="packed",
        pooling="last",
        max_tokens=tokenizer.max_tokens,
        vocabulary=shape.vocabulary,
        probabilities=True,
    )
    weights = Weights.read(folder)
    decoder = Decoder(weights, shape, dtype=dtype, device=device)
    # The small sizes tie the answers' rows to the embedding's.
    tied = "lm_head.weight" not in weights
    rows = decoder.words if tied else weights["lm_head.weight"]
    # Two rows of the vocabulary are ever asked for, and of those only the difference.
    answer = rows[tokenizer.id_of("yes")].float() - rows[tokenizer.id_of("no")].float()
    return Qwen3Reranker(card, tokenizer, decoder, answer.to(device.torch), device)


class Qwen3Reranker(ScoreModel):
    """A decoder that is asked in its own prompt, and the one vector that tells yes from no."""

    def __init__(
        self,
        card: Card,
        tokenizer: Tokenizer,
        decoder: Decoder,
        answer: torch.Tensor,
        device: Device,
    ) -> None:
        def read(hidden: torch.Tensor, pack: Pack) -> torch.Tensor:
            return hidden[pack.last].float() @ answer

        super().__init__(card, tokenizer, decoder, read, device=device)
        self._begin, self._end = tokenizer.tokens_of([BEGIN, END])

    def prepare_pairs(
        self,
        query: str,
        passages: Sequence[str],
        *,
        instruction: str | None = None,
        side: Side = "end",
        max_tokens: int | None = None,
    ) -> list[Prepared]:
        """Write the prompt for every passage; thread-safe."""
        frame = len(self._begin) + len(self._end)
        room = self._tokenizer.room(max_tokens, frame)
        asked = f"<Instruct>: {instruction or INSTRUCTION}\n<Query>: {query}"
        # A body is tokenized in one piece, as in training: a blank may join the word behind it.
        bodies = [f"{asked}\n<Document>: {passage}" for passage in passages]
        query_ids, *rest = self._tokenizer.pair_tokens(asked, bodies)
        query_room = int((room + frame) * QUERY_SHARE)
        return [
            self._fitted(ids, query_ids, room, query_room, passage, side=side)
            for ids, passage in zip(rest, passages, strict=True)
        ]

    def _fitted(
        self, body: Ids, query: Ids, room: int, query_room: int, passage: str, *, side: Side
    ) -> Prepared:
        """Cut the passage; where the query alone leaves it no place, the query first."""
        cuts: tuple[Truncation, ...] = ()
        if len(body) > room and len(query) > query_room:
            query, cuts = cut(query, min(room, query_room), part="query")
            tail = self._tokenizer.tokens_of([f"\n<Document>: {passage}"])
            body = np.concatenate([query, *tail])
        head = NO_IDS
        if len(body) > room and side == "start":
            [words] = self._tokenizer.tokens_of([f" {passage}"])
            head, body = np.split(body, [min(len(body) - len(words), room)])
        around = len(self._begin) + len(head) + len(self._end)
        kept, passage_cut = cut(body, room - len(head), side=side, part="passage", extra=around)
        return Prepared(np.concatenate([self._begin, head, kept, self._end]), cuts + passage_cut)
