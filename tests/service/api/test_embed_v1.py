"""/api/v1/embed."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from smart_embedder.api.embed_v1 import in_words

pytestmark = pytest.mark.anyio
MakeClient = Callable[..., Any]
PATH = "/api/v1/embed"


@pytest.mark.parametrize(
    "body",
    [
        {
            "inputs": "Hello world",
            "truncate": True,
            "truncation_direction": "Right",
            "prompt_name": None,
            "normalize": True,
            "dimensions": None,
        },
        {"inputs": ["First document"], "truncate": True},
    ],
)
async def test_the_answer_has_vectors_usage_and_timings(
    client: httpx.AsyncClient, body: dict[str, object]
) -> None:
    found = (await client.post(PATH, json=body)).json()

    assert [item["index"] for item in found["data"]] == [0]
    assert len(found["data"][0]["embedding"]) == 8
    assert found["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert list(found["timings"]) == ["tokenization", "queue", "inference"]
    assert all(re.fullmatch(r"[\d.]+(µs|ms|s)", time) for time in found["timings"].values())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0µs"), (0.00012, "120µs"), (0.002, "2ms"), (0.0351, "35.1ms"), (1.5, "1.5s")],
)
def test_durations_are_short_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


async def test_a_raw_vector_is_given_when_asked_for(client: httpx.AsyncClient) -> None:
    raw = (await client.post(PATH, json={"inputs": "a", "normalize": False})).json()
    unit = (await client.post(PATH, json={"inputs": "a"})).json()

    vectors = [np.array(body["data"][0]["embedding"]) for body in (raw, unit)]
    assert np.linalg.norm(vectors[1]) == pytest.approx(1)
    assert vectors[0] / np.linalg.norm(vectors[0]) == pytest.approx(vectors[1], rel=1e-5)


async def test_a_long_text_is_cut_unless_that_is_not_wanted(client: httpx.AsyncClient) -> None:
    long = "word " * 600
    assert (await client.post(PATH, json={"inputs": long})).status_code == 200
    refused = await client.post(PATH, json={"inputs": long, "truncate": False})

    assert refused.status_code == 422
    assert refused.json()["error_type"] == "invalid_input"
    assert "512" in refused.json()["error"]


async def test_a_prompt_goes_before_the_text(make_client: MakeClient, fake_embedding: Any) -> None:
    async with make_client(prompts={"query": "find"}, default_prompt="say") as client:
        await client.post(PATH, json={"inputs": "a", "prompt_name": "query"})
        await client.post(PATH, json={"inputs": "a"})
        unknown = await client.post(PATH, json={"inputs": "a", "prompt_name": "other"})

    wanted = fake_embedding.prepare(["find a", "say a"])
    seen = [batch[0].tolist() for batch in fake_embedding.passes]
    assert seen == [text.ids.tolist() for text in wanted]
    assert unknown.status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": []},
        {"inputs": ["a", 1]},
        {"inputs": "a", "truncation_direction": "Up"},
        {"inputs": "a", "dimensions": -1},
    ],
)
async def test_what_is_wrong_is_told_in_two_words(
    client: httpx.AsyncClient, body: dict[str, object]
) -> None:
    answer = await client.post(PATH, json=body)

    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "error_type"}


async def test_too_many_inputs_are_refused_and_the_limit_is_named(make_client: MakeClient) -> None:
    async with make_client(max_client_batch_size=2) as client:
        answer = await client.post(PATH, json={"inputs": ["a", "b", "c"]})

    assert answer.status_code == 422
    assert "2" in answer.json()["error"]
