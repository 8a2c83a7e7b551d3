"""Tokenization beside the event loop."""

import asyncio
import threading

import numpy as np
import pytest

from smart_embedder.errors import InvalidInput, Unavailable
from smart_embedder.models.model import Prepared
from smart_embedder.tokenizing import CHUNK, Tokenizers, estimate

pytestmark = pytest.mark.anyio


def _prepare(texts) -> list[Prepared]:
    for index, text in enumerate(texts):
        if text == "bad":
            raise InvalidInput("bad", index=index)
    return [Prepared(np.array([len(text)], np.int32)) for text in texts]


async def test_a_single_text_passes_between_the_chunks_of_ten_thousand() -> None:
    tokenizers, order = Tokenizers(1), []

    def noted(texts) -> list[Prepared]:
        order.append(len(texts))
        return _prepare(texts)

    flood = asyncio.create_task(tokenizers.prepare(noted, ["text"] * 10_000))
    await asyncio.sleep(0)
    await tokenizers.prepare(noted, ["query"])
    assert order[:2] == [CHUNK, 1]
    assert len(await flood) == 10_000
    tokenizers.stop()


async def test_an_error_names_the_index_in_the_whole() -> None:
    tokenizers = Tokenizers(1)
    with pytest.raises(InvalidInput) as caught:
        await tokenizers.prepare(_prepare, ["fine"] * (CHUNK + 3) + ["bad"])
    assert caught.value.index == CHUNK + 3
    tokenizers.stop()


async def test_what_is_tokenized_at_the_end_is_finished_and_the_rest_is_unavailable() -> None:
    tokenizers, gate = Tokenizers(1), threading.Event()
    running = asyncio.create_task(tokenizers.call(gate.wait))
    waiting = asyncio.create_task(tokenizers.call(lambda: "done"))
    await asyncio.sleep(0)
    tokenizers.stop()
    gate.set()
    assert await running
    assert await waiting == "done"
    with pytest.raises(Unavailable):
        await tokenizers.call(lambda: "too late")


def test_the_door_guesses_by_characters_and_counts_ids() -> None:
    assert estimate(["x" * 400], 512) == 102
    assert estimate(["x" * 40_000, [1, 2, 3]], 512) == 512 + 3
