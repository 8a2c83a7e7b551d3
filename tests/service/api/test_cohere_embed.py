"""Cohere's embeddings."""

import base64
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx
import numpy as np
import pytest

pytestmark = pytest.mark.anyio
MakeClient = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

KINDS = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
TEXTS = ["a b", "c"]


async def embed(client: httpx.AsyncClient, path: str = "/v2/embed", **more: object) -> dict:  # type: ignore[type-arg] # JSON
    answer = await client.post(path, json={"texts": TEXTS, "model": "default"} | more)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_every_format_says_the_same_vector(client: httpx.AsyncClient) -> None:
    found = (await embed(client, embedding_types=KINDS))["embeddings"]
    floats = np.array(found["float"], np.float32)
    assert list(found) == KINDS
    np.testing.assert_array_equal(
        [np.frombuffer(base64.b64decode(text), "<f4") for text in found["base64"]], floats
    )
    np.testing.assert_allclose(
        np.array(found["int8"]) / 127 * np.abs(floats).max(axis=1, keepdims=True),
        floats,
        atol=0.5 / 127,
    )
    np.testing.assert_array_equal(np.array(found["uint8"]), np.array(found["int8"]) + 128)
    bits = np.unpackbits(np.array(found["ubinary"], np.uint8), axis=1)
    np.testing.assert_array_equal(bits == 1, floats >= 0)
    np.testing.assert_array_equal(np.array(found["binary"]), np.array(found["ubinary"]) - 128)


async def test_the_older_path_gives_a_plain_list_unless_formats_are_named(
    client: httpx.AsyncClient,
) -> None:
    plain = await embed(client, "/v1/embed")
    typed = await embed(client, "/v1/embed", embedding_types=["float"])
    newer = await embed(client)
    assert plain["response_type"] == "embeddings_floats"
    assert typed["response_type"] == newer["response_type"] == "embeddings_by_type"
    assert plain["embeddings"] == typed["embeddings"]["float"] == newer["embeddings"]["float"]
    assert plain["texts"] == TEXTS
    assert plain["meta"]["tokens"] == plain["meta"]["billed_units"] == {"input_tokens": 7}


async def test_inputs_in_their_long_form_are_the_same_texts(client: httpx.AsyncClient) -> None:
    inputs = [{"content": [{"type": "text", "text": text}]} for text in TEXTS]
    long = await client.post("/v2/embed", json={"inputs": inputs})
    assert long.json()["embeddings"] == (await embed(client))["embeddings"]


async def test_the_width_and_the_length_can_be_limited(client: httpx.AsyncClient) -> None:
    narrow = await embed(client, output_dimension=3)
    assert len(narrow["embeddings"]["float"][0]) == 3
    short = await embed(client, texts=["a b c d"], max_tokens=4)
    assert short["meta"]["warnings"] == ["texts[0] was cut from 6 to 4 tokens"]
    assert short["embeddings"] == (await embed(client, texts=["a b"]))["embeddings"]


async def test_the_side_that_is_lost_can_be_chosen(client: httpx.AsyncClient) -> None:
    end = await embed(client, texts=["a b c d"], max_tokens=4, truncate="END")
    start = await embed(client, texts=["a b c d"], max_tokens=4, truncate="START")
    assert start["embeddings"] == (await embed(client, texts=["c d"]))["embeddings"]
    assert end["embeddings"] == (await embed(client, texts=["a b"]))["embeddings"]


async def test_a_prompt_may_be_set_for_an_input_type(make_client: MakeClient) -> None:
    async with make_client(prompts={"search_query": "find:"}) as client:
        query = await embed(client, input_type="search_query")
        document = await embed(client, input_type="search_document")
        spelled = await embed(client, texts=["find: a b", "find: c"])
    assert query["embeddings"] != document["embeddings"]
    assert query["embeddings"] == spelled["embeddings"]


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"texts": []}, "texts"),
        ({"texts": None}, "texts"),
        ({"texts": [7]}, "texts"),
        ({"images": ["data:"]}, "images"),
        ({"inputs": [{"content": [{"type": "text", "text": "a"}]}]}, "inputs"),
        ({"embedding_types": ["float64"]}, "embedding_types"),
        ({"texts": ["a " * 600], "truncate": "NONE"}, "texts[0]"),
        ({"output_dimension": 9}, "dimension"),
    ],
)
async def test_a_refusal_is_a_message_that_names_the_field(
    more: dict[str, object], word: str, client: httpx.AsyncClient
) -> None:
    answer = await client.post("/v2/embed", json={"texts": TEXTS} | more)
    assert answer.status_code == 400
    assert word in answer.json()["message"]
