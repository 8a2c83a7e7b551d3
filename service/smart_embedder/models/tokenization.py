"""Texts to token ids: special tokens, truncation, offsets. Knows nothing of weights or devices.

The Rust tokenizer is asked for plain ids only, in batches, with the GIL released. Special tokens
and truncation are ours, so the Rust object has no state to change and any number of threads may
share it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

import numpy as np
import tokenizers
from tokenizers import normalizers

from smart_embedder.errors import EmptyInput, InvalidInput, ModelLoadFailed
from smart_embedder.models.model import Ids, Piece, Prepared, Side, Text, Truncation

QUERY_SHARE = 3 / 4
"""The part of an over-long pair that its query may fill (FlagEmbedding's rule for rerankers)."""

NO_IDS: Ids = np.empty(0, np.int32)


def _no_ids() -> Ids:
    return NO_IDS


@dataclass(frozen=True, slots=True)
class Frame:
    """The special tokens that a recipe sets around a text, and around and between a pair."""

    before: Ids = field(default_factory=_no_ids)
    after: Ids = field(default_factory=_no_ids)
    between: Ids = field(default_factory=_no_ids)
    pair_after: Ids = field(default_factory=_no_ids)

    @property
    def length(self) -> int:
        """Special tokens of one text."""
        return len(self.before) + len(self.after)

    @property
    def pair_length(self) -> int:
        """Special tokens of one pair."""
        return len(self.before) + len(self.between) + len(self.pair_after)

    def strip(self, ids: Ids) -> Ids:
        """Take the frame off ids that came with it, as a client's own tokenizer returns them."""
        inner = len(ids) - len(self.after)
        framed = (
            len(ids) >= self.length
            and np.array_equal(ids[: len(self.before)], self.before)
            and np.array_equal(ids[inner:], self.after)
        )
        return ids[len(self.before) : inner] if framed else ids


class Tokenizer:
    """One model's tokenizer; thread-safe."""

    def __init__(self, rust: tokenizers.Tokenizer, frame: Frame, *, max_tokens: int) -> None:
        self._rust = rust
        self.frame = frame
        self.max_tokens = max_tokens
        self.vocabulary = rust.get_vocab_size(with_added_tokens=True)

    @classmethod
    def load(cls, folder: Path, *, max_tokens: int, lower_case: bool = False) -> Self:
        """Read `tokenizer.json`, which every model of the last years carries."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelLoadFailed(f"{folder} has no tokenizer.json", field="tokenizer.json")
        try:
            rust = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises it bare for a bad file
            raise ModelLoadFailed(f"{path} is not a tokenizer: {error}") from error
        rust.no_truncation()
        rust.no_padding()
        if lower_case:
            given = [] if rust.normalizer is None else [rust.normalizer]
            rust.normalizer = normalizers.Sequence([normalizers.Lowercase(), *given])
        return cls(rust, _frame_of(rust), max_tokens=max_tokens)

    def with_frame(self, frame: Frame) -> Self:
        """Return the same tokenizer with other special tokens, where a recipe asks for them."""
        return type(self)(self._rust, frame, max_tokens=self.max_tokens)

    def id_of(self, token: str) -> int:
        """Return the id of a token that the recipe cannot do without."""
        found = self._rust.token_to_id(token)
        if found is None:
            raise ModelLoadFailed(f"the tokenizer has no token {token!r}")
        return found

    def tokens_of(self, texts: Sequence[str]) -> list[Ids]:
        """Tokenize texts plainly: no special tokens, no truncation."""
        encodings = self._encode(texts)
        return [np.asarray(encoding.ids, np.int32) for encoding in encodings]

    def prepare(
        self,
        texts: Sequence[Text],
        prompt: str | None = None,
        *,
        truncate: bool = True,
        side: Side = "end",
        max_tokens: int | None = None,
    ) -> list[Prepared]:
        """Tokenize texts, set their special tokens, cut what is too long."""
        room = self.room(max_tokens, self.frame.length)
        prepared: list[Prepared] = []
        for index, ids in enumerate(self._plain(texts, prompt or "")):
            if len(ids) + self.frame.length == 0:
                raise EmptyInput("the text holds no token", field="input", index=index)
            if len(ids) > room and not truncate:
                raise InvalidInput(
                    f"the text has {len(ids) + self.frame.length} tokens, "
                    f"the limit is {room + self.frame.length}",
                    field="input",
                    limit=room + self.frame.length,
                    value=len(ids) + self.frame.length,
                    index=index,
                )
            prepared.append(self._framed(ids, room, side))
        return prepared

    def prepare_pairs(
        self,
        query: str,
        passages: Sequence[str],
        *,
        side: Side = "end",
        max_tokens: int | None = None,
    ) -> list[Prepared]:
        """Tokenize pairs; where one is too long, its passage gives way before its query."""
        room = self.room(max_tokens, self.frame.pair_length)
        query_ids, *rest = self.pair_tokens(query, passages)
        return [self._framed_pair(query_ids, ids, room, side) for ids in rest]

    def pair_tokens(self, query: str, passages: Sequence[str]) -> list[Ids]:
        """Tokenize the query and the passages plainly; an error names the passage or the query."""
        try:
            return self.tokens_of([query, *passages])
        except InvalidInput as error:
            if not error.index:
                raise InvalidInput(error.message, field="query") from error
            raise InvalidInput(error.message, field="passages", index=error.index - 1) from error

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Turn token ids back into a text."""
        checked = self._checked(ids, 0)
        return self._rust.decode(checked.tolist(), skip_special_tokens=skip_special)

    def offsets(
        self, texts: Sequence[str], prompt: str | None = None, *, special: bool = True
    ) -> list[list[Piece]]:
        """Say which characters became which token; never cut."""
        whole = [(prompt or "") + text for text in texts]
        encodings = self._encode(whole, offsets=True)
        return [
            [
                *self._specials(self.frame.before if special else NO_IDS),
                *_pieces(encoding, text, self._special_ids()),
                *self._specials(self.frame.after if special else NO_IDS),
            ]
            for encoding, text in zip(encodings, whole, strict=True)
        ]

    def _encode(self, texts: Sequence[str], *, offsets: bool = False) -> list[tokenizers.Encoding]:
        _refuse_lone_surrogates(texts)
        encode = self._rust.encode_batch if offsets else self._rust.encode_batch_fast
        return encode(list(texts), add_special_tokens=False)

    def _plain(self, texts: Sequence[Text], prompt: str) -> Iterator[Ids]:
        """Give the ids of every text in order, tokenizing all the strings in one call."""
        strings = iter(self.tokens_of([_string(text, prompt) for text in texts]))
        lead = self.tokens_of([prompt])[0] if prompt else NO_IDS
        for index, text in enumerate(texts):
            tokenized = next(strings)
            if isinstance(text, str):
                yield tokenized
            else:
                given = self.frame.strip(self._checked(text, index))
                yield np.concatenate([lead, given])

    def _checked(self, ids: Sequence[int], index: int) -> Ids:
        for value in ids:
            if type(value) is not int or not 0 <= value < self.vocabulary:
                raise InvalidInput(
                    f"{value!r} is no token id: ids run from 0 to {self.vocabulary - 1}",
                    field="input",
                    limit=self.vocabulary - 1,
                    value=value,
                    index=index,
                )
        return np.asarray(ids, np.int32)

    def room(self, max_tokens: int | None, frame: int) -> int:
        """Return how many tokens fit beside those of the frame."""
        limit = self.max_tokens if max_tokens is None else min(max_tokens, self.max_tokens)
        if limit <= frame:
            raise InvalidInput(
                f"max_tokens must be more than the {frame} special tokens",
                field="max_tokens",
                limit=frame + 1,
                value=max_tokens,
            )
        return limit - frame

    def _framed(self, ids: Ids, room: int, side: Side) -> Prepared:
        kept, cuts = cut(ids, room, side=side, extra=self.frame.length)
        return Prepared(np.concatenate([self.frame.before, kept, self.frame.after]), cuts)

    def _framed_pair(self, query: Ids, passage: Ids, room: int, side: Side) -> Prepared:
        frame = self.frame
        query_room = int((room + frame.pair_length) * QUERY_SHARE)
        query, passage, cuts = cut_pair(query, passage, room, query_room, side)
        halves = [frame.before, query, frame.between, passage, frame.pair_after]
        return Prepared(np.concatenate(halves), cuts)

    def _special_ids(self) -> frozenset[int]:
        added = self._rust.get_added_tokens_decoder()
        return frozenset(id_ for id_, token in added.items() if token.special)

    def _specials(self, ids: Ids) -> Iterator[Piece]:
        for value in ids.tolist():
            yield Piece(value, self._rust.id_to_token(value) or "", True, None, None)


def cut(
    ids: Ids,
    room: int,
    *,
    side: Side = "end",
    part: Literal["text", "query", "passage"] = "text",
    extra: int = 0,
) -> tuple[Ids, tuple[Truncation, ...]]:
    """Keep at most `room` ids; the counts told include `extra` special tokens."""
    if len(ids) <= room:
        return ids, ()
    kept = ids[len(ids) - room :] if side == "start" else ids[:room]
    return kept, (Truncation(len(ids) + extra, room + extra, side, part),)


def cut_pair(
    query: Ids, passage: Ids, room: int, query_room: int, side: Side = "end"
) -> tuple[Ids, Ids, tuple[Truncation, ...]]:
    """Fit a pair into `room`: the query keeps up to its own room, the passage the rest.

    `side` is what the passage loses; a query loses its end.
    """
    if len(query) + len(passage) <= room:
        return query, passage, ()
    query, query_cut = cut(query, min(room, query_room), part="query")
    passage, passage_cut = cut(passage, room - len(query), side=side, part="passage")
    return query, passage, query_cut + passage_cut


def _string(text: Text, prompt: str) -> str:
    return prompt + text if isinstance(text, str) else ""


def _refuse_lone_surrogates(texts: Sequence[str]) -> None:
    """Name the text that is no Unicode, before the Rust side refuses the whole batch."""
    for index, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"the text holds a lone surrogate at character {error.start}",
                field="input",
                index=index,
            ) from error


def _frame_of(rust: tokenizers.Tokenizer) -> Frame:
    """Read the special tokens off what the tokenizer's own template adds around a probe."""
    single = rust.encode("a")
    pair = rust.encode("a", "a")
    before, after = _runs(single)[0], _runs(single)[-1]
    first, *between, last = _runs(pair)
    if not np.array_equal(first, before):
        return Frame(before, after)
    return Frame(before, after, between[0] if between else NO_IDS, last)


def _runs(encoding: tokenizers.Encoding) -> list[Ids]:
    """The special tokens before the first text, between the texts, and after the last."""
    runs: list[list[int]] = [[]]
    texts = encoding.sequence_ids
    for position, (value, special) in enumerate(
        zip(encoding.ids, encoding.special_tokens_mask, strict=True)
    ):
        if special:
            runs[-1].append(value)
        elif position == 0 or texts[position] != texts[position - 1]:
            runs.append([])
    return [np.asarray(run, np.int32) for run in runs]


def _pieces(encoding: tokenizers.Encoding, text: str, special: frozenset[int]) -> Iterator[Piece]:
    for value, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True):
        yield Piece(value, text[start:stop], value in special, start, stop)


__all__ = ["Frame", "Piece", "Tokenizer", "cut", "cut_pair"]
