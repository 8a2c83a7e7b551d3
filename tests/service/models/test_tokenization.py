"""Texts become ids, are cut where they must be, and are told apart when they cannot be read."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smart_embedder.errors import InvalidInput, ModelLoadFailed
from smart_embedder.models.demo.vocabulary import byte_level, unigram
from smart_embedder.models.model import Truncation
from smart_embedder.models.tokenization import Frame, Tokenizer

BEGIN, END = 0, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    # State that a file may carry and that must not count.
    tokenizer = unigram()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=7)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder, max_tokens=16)


def test_special_tokens_frame_a_text(tokenizer: Tokenizer) -> None:
    (prepared,) = tokenizer.prepare(["the cat"])
    assert prepared.ids[0] == BEGIN
    assert prepared.ids[-1] == END
    assert prepared.truncations == ()
    assert tokenizer.decode(prepared.ids.tolist()) == "the cat"


def test_a_long_text_is_cut_at_the_side_that_is_asked_for(tokenizer: Tokenizer) -> None:
    text = "one " + "cat " * 40 + "end"
    (end,), (start,) = (tokenizer.prepare([text], side=side) for side in ("end", "start"))
    assert len(end.ids) == len(start.ids) == 16
    assert tokenizer.decode(end.ids.tolist()).startswith("one")
    assert tokenizer.decode(start.ids.tolist()).endswith("end")
    original = end.truncations[0].original
    assert end.truncations == (Truncation(original, 16, "end"),)
    assert start.truncations == (Truncation(original, 16, "start"),)
    assert original == len(tokenizer.tokens_of([text])[0]) + 2


def test_a_text_that_may_not_be_cut_is_refused_with_its_index(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidInput) as refused:
        tokenizer.prepare(["fine", "cat " * 40], truncate=False)
    assert (refused.value.index, refused.value.limit) == (1, 16)
    assert refused.value.value == len(tokenizer.tokens_of(["cat " * 40])[0]) + 2


def test_a_request_may_lower_the_limit_and_not_raise_it(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.prepare(["cat " * 40], max_tokens=5)[0].ids) == 5
    assert len(tokenizer.prepare(["cat " * 40], max_tokens=500)[0].ids) == 16
    with pytest.raises(InvalidInput, match="max_tokens"):
        tokenizer.prepare(["cat"], max_tokens=2)


def test_a_prompt_is_read_as_one_with_the_text(tokenizer: Tokenizer) -> None:
    (with_prompt,) = tokenizer.prepare(["cat"], "the ")
    assert with_prompt.ids.tolist() == tokenizer.prepare(["the cat"])[0].ids.tolist()


def test_token_ids_are_taken_with_or_without_their_frame(tokenizer: Tokenizer) -> None:
    (expected,) = tokenizer.prepare(["the cat"])
    plain = tokenizer.tokens_of(["the cat"])[0].tolist()
    given_plain, given_framed = tokenizer.prepare([plain, expected.ids.tolist()])
    assert given_plain.ids.tolist() == given_framed.ids.tolist() == expected.ids.tolist()


def test_token_ids_follow_a_prompt(tokenizer: Tokenizer) -> None:
    plain = tokenizer.tokens_of(["cat"])[0].tolist()
    (prepared,) = tokenizer.prepare([plain], "the ")
    assert prepared.ids.tolist() == tokenizer.prepare(["the cat"])[0].ids.tolist()


@pytest.mark.parametrize("wrong", [-1, 10**6, 2**40, 1.5, True, "3", None])
def test_what_is_no_token_id_is_refused_with_its_index(tokenizer: Tokenizer, wrong: object) -> None:
    with pytest.raises(InvalidInput) as refused:
        tokenizer.prepare(["fine", [3, wrong]])  # type: ignore[list-item]
    assert refused.value.index == 1


def test_a_pair_keeps_three_quarters_for_its_query_and_no_more(tokenizer: Tokenizer) -> None:
    (pair,) = tokenizer.prepare_pairs("cat " * 40, ["dog " * 40])
    assert len(pair.ids) == 16
    query, passage = pair.truncations
    assert (query.part, query.kept) == ("query", 12)
    assert (passage.part, passage.kept) == ("passage", 0)


def test_a_query_that_fits_is_never_cut(tokenizer: Tokenizer) -> None:
    (pair,) = tokenizer.prepare_pairs("the cat", ["dog " * 40])
    (cut,) = pair.truncations
    assert (cut.part, len(pair.ids)) == ("passage", 16)
    query = tokenizer.tokens_of(["the cat"])[0].tolist()
    assert pair.ids[: len(query) + 3].tolist() == [BEGIN, *query, END, END]


def test_a_passage_may_lose_its_beginning_and_a_query_only_its_end(tokenizer: Tokenizer) -> None:
    (pair,) = tokenizer.prepare_pairs("cat dog " + "cat " * 40, ["dog " * 40 + "cat"], side="start")
    assert [(cut.part, cut.side) for cut in pair.truncations] == [
        ("query", "end"),
        ("passage", "start"),
    ]
    (pair,) = tokenizer.prepare_pairs("the cat", ["dog " * 40 + "the cat"], side="start")
    query = tokenizer.tokens_of(["the cat"])[0].tolist()
    assert pair.ids[: len(query) + 1].tolist() == [BEGIN, *query]
    assert pair.ids[-len(query) - 1 :].tolist() == [*query, END]


def test_pieces_say_which_characters_became_which_token(tokenizer: Tokenizer) -> None:
    text = "naïve 🐈 cat"
    (pieces,) = tokenizer.offsets([text])
    assert (pieces[0].text, pieces[0].special, pieces[0].start) == ("<s>", True, None)
    assert pieces[-1].text == "</s>"
    inner = [piece for piece in pieces if piece.start is not None]
    assert all(piece.text == text[piece.start : piece.stop] for piece in inner)
    assert {place for piece in inner for place in range(piece.start or 0, piece.stop or 0)} >= {
        place for place, letter in enumerate(text) if letter != " "
    }
    assert [piece.id for piece in pieces] == tokenizer.prepare([text])[0].ids.tolist()
    assert tokenizer.offsets(["cat"], special=False)[0][0].text.strip() == "cat"


def test_a_text_of_special_tokens_is_read_as_those(tokenizer: Tokenizer) -> None:
    (prepared,) = tokenizer.prepare(["<s></s><mask>"])
    assert prepared.ids[0] == prepared.ids[1] == BEGIN
    assert all(piece.special for piece in tokenizer.offsets(["<s></s><mask>"])[0])


def test_a_text_without_a_token_is_refused_where_no_frame_stands_for_it(
    tokenizer: Tokenizer,
) -> None:
    with pytest.raises(InvalidInput) as refused:
        tokenizer.with_frame(Frame()).prepare(["fine", " "])
    assert (refused.value.index, refused.value.code) == (1, "empty_input")


@pytest.mark.parametrize("content", [None, "{", '{"model": 3}'])
def test_a_folder_without_a_readable_tokenizer_is_no_model(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelLoadFailed, match=r"tokenizer"):
        Tokenizer.load(tmp_path, max_tokens=8)


def test_a_token_the_recipe_needs_must_be_there(tokenizer: Tokenizer) -> None:
    assert tokenizer.id_of("<mask>") == tokenizer.vocabulary - 1
    with pytest.raises(ModelLoadFailed, match="nonesuch"):
        tokenizer.id_of("nonesuch")


def test_many_threads_share_one_tokenizer(tokenizer: Tokenizer) -> None:
    def work(number: int) -> list[list[int]]:
        texts = [f"cat {number} " * (1 + number % 9), "the"]
        limits = tokenizer.prepare(
            texts, max_tokens=4 + number % 9, side=("end", "start")[number % 2]
        )
        tokenizer.prepare_pairs("cat", texts)
        tokenizer.offsets(texts)
        return [prepared.ids.tolist() for prepared in limits]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(work, range(200)))
    assert together == [work(number) for number in range(200)]


ANY_TEXT = st.text(st.characters(categories=None, codec=None), max_size=40)
"""Every plane, NUL and lone surrogates."""


@pytest.fixture(scope="module", params=[unigram, lambda: byte_level(ends=True)])
def kinds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("kind")
    make: Callable[[], Tokenizer] = request.param
    make().save(str(folder / "tokenizer.json"))  # type: ignore[attr-defined]
    return Tokenizer.load(folder, max_tokens=32)


@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=6), side=st.sampled_from(["end", "start"]))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_or_refused_by_its_index(
    kinds: Tokenizer, texts: Sequence[str], side: str
) -> None:
    broken = [index for index, text in enumerate(texts) if _is_broken(text)]
    if broken:
        with pytest.raises(InvalidInput) as refused:
            kinds.prepare(texts, side=side)  # type: ignore[arg-type]
        assert refused.value.index == broken[0]
        return
    together = kinds.prepare(texts, side=side)  # type: ignore[arg-type]
    for text, prepared in zip(texts, together, strict=True):
        (alone,) = kinds.prepare([text], side=side)  # type: ignore[arg-type]
        np.testing.assert_array_equal(prepared.ids, alone.ids)
        assert 1 <= len(prepared.ids) <= 32
        assert prepared.ids.min() >= 0
        assert prepared.ids.max() < kinds.vocabulary


def test_200_000_characters_are_read(kinds: Tokenizer) -> None:
    for text in ("a" * 200_000, "ab " * 66_666, "🐈" * 200_000, "\u202e א" * 60_000):
        (prepared,) = kinds.prepare([text])
        assert 3 <= len(prepared.ids) <= 32


def _is_broken(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)
