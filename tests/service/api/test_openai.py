"""OpenAI's format."""

import base64
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import openai
import pytest

pytestmark = pytest.mark.anyio
MakeClient = Callable[..., Any]


async def embed(client: httpx.AsyncClient, given: object, **more: object) -> dict[str, Any]:
    answer = await client.post("/v1/embeddings", json={"input": given, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_base64_holds_the_same_numbers_as_the_float_list(client: httpx.AsyncClient) -> None:
    plain = await embed(client, ["one text", "another"])
    packed = await embed(client, ["one text", "another"], encoding_format="base64")

    for numbers, text in zip(plain["data"], packed["data"], strict=True):
        decoded = np.frombuffer(base64.b64decode(text["embedding"]), "<f4")
        np.testing.assert_array_equal(decoded, np.array(numbers["embedding"], np.float32))


@pytest.mark.parametrize(
    ("given", "texts"),
    [("one", 1), (["one", "two"], 2), ([5, 6, 7], 1), ([[5, 6], [7]], 2), (["one", [7]], 2)],
)
async def test_texts_and_token_ids_are_both_read(
    client: httpx.AsyncClient, given: object, texts: int
) -> None:
    body = await embed(client, given)

    assert body["object"] == "list"
    assert [item["index"] for item in body["data"]] == list(range(texts))
    assert {item["object"] for item in body["data"]} == {"embedding"}


async def test_usage_counts_tokens(client: httpx.AsyncClient) -> None:
    body = await embed(client, ["one two", "three"])
    assert body["usage"] == {"prompt_tokens": 7, "total_tokens": 7, "completion_tokens": None}


async def test_vectors_can_be_shortened(client: httpx.AsyncClient) -> None:
    [item] = (await embed(client, "one", dimensions=4))["data"]
    assert len(item["embedding"]) == 4
    assert np.linalg.norm(item["embedding"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input[0]"),
        ({"input": []}, "input"),
        ({"input": ["one", ""]}, "input[1]"),
        ({"input": ["one", 2]}, "input[1]"),
        ({"input": "one", "dimensions": 0}, "dimensions"),
        ({"input": "one", "dimensions": "many"}, "dimensions"),
        ({"input": "one", "encoding_format": "hex"}, "encoding_format"),
    ],
)
async def test_a_wrong_value_is_400_and_its_field_is_the_param(
    client: httpx.AsyncClient, body: dict[str, object], param: str
) -> None:
    answer = await client.post("/v1/embeddings", json=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["param"] == param


async def test_limits_are_settings_and_named_when_they_are_passed(make_client: MakeClient) -> None:
    async with make_client(max_batch_size=2, max_text_chars=5) as client:
        many = await client.post("/v1/embeddings", json={"input": ["a", "b", "c"]})
        long = await client.post("/v1/embeddings", json={"input": ["a", "abcdef"]})

    assert (many.status_code, long.status_code) == (400, 400)
    assert "2" in many.json()["error"]["message"]
    assert long.json()["error"]["param"] == "input[1]"
    assert "MAX_TEXT_CHARS" in long.json()["error"]["message"]


async def test_an_unknown_model_is_404(client: httpx.AsyncClient) -> None:
    asked = await client.post("/v1/embeddings", json={"input": "a", "model": "gpt"})
    shown = await client.get("/v1/models/gpt")

    assert (asked.status_code, shown.status_code) == (404, 404)
    assert asked.json()["error"]["code"] == "model_not_found"


async def test_models_say_what_they_give_and_how_wide(client: httpx.AsyncClient) -> None:
    models = (await client.get("/v1/models")).json()["data"]

    found = {model["id"]: (model["dimensions"], model["capabilities"]) for model in models}
    assert found == {
        "fake/embedding": (8, ["dense", "sparse", "colbert"]),
        "fake/reranker": (0, ["score"]),
    }
    one = (await client.get("/v1/models/fake/embedding")).json()
    assert one == models[0]
    assert (one["object"], one["owned_by"]) == ("model", "fake")


async def test_a_request_may_choose_among_the_served_models_by_a_short_name(
    client: httpx.AsyncClient,
) -> None:
    body = await embed(client, "a", model="embedding")
    assert body["model"] == "embedding"
    assert (await embed(client, "a"))["model"] == "fake/embedding"
    shown = (await client.get("/v1/models/embedding")).json()
    assert (shown["id"], shown["dimensions"]) == ("embedding", 8)


async def test_openais_own_client_reads_answers_and_errors(client: httpx.AsyncClient) -> None:
    theirs = openai.AsyncOpenAI(
        api_key="any",
        base_url=str(client.base_url.join("/v1")),
        http_client=client,
        max_retries=0,
    )
    found = await theirs.embeddings.create(model="default", input=["one", "two"])
    assert [len(item.embedding) for item in found.data] == [8, 8]

    with pytest.raises(openai.NotFoundError) as caught:
        await theirs.embeddings.create(model="gpt", input="one")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        await theirs.embeddings.create(model="default", input=[])
    assert wrong.value.param == "input"
