"""OpenAI's format."""

import base64

import httpx
import numpy as np
import pytest

pytestmark = pytest.mark.anyio


async def test_base64_holds_the_same_numbers_as_the_float_list(client: httpx.AsyncClient) -> None:
    body = {"input": ["one text", "another"]}

    plain = (await client.post("/v1/embeddings", json=body)).json()
    packed = (await client.post("/v1/embeddings", json=body | {"encoding_format": "base64"})).json()

    for numbers, text in zip(plain["data"], packed["data"], strict=True):
        decoded = np.frombuffer(base64.b64decode(text["embedding"]), "<f4")
        np.testing.assert_array_equal(decoded, np.array(numbers["embedding"], np.float32))


async def test_a_wrong_method_and_path_are_told_in_json(client: httpx.AsyncClient) -> None:
    wrong = await client.put("/v1/embeddings", json={})
    nowhere = await client.get("/nowhere")

    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")
    assert wrong.headers["allow"]
