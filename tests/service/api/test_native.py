"""The native format."""

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

pytestmark = pytest.mark.anyio
MakeClient = Callable[..., Any]


async def embed(client: httpx.AsyncClient, **body: object) -> dict[str, Any]:
    answer = await client.post("/embeddings/", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_only_dense_is_given_unless_more_is_asked_for(client: httpx.AsyncClient) -> None:
    body = await embed(client, sentences=["a b", "c"])

    assert [item["id"] for item in body["data"]] == [0, 1]
    assert [item["text"] for item in body["data"]] == ["a b", "c"]
    assert [list(item["embeddings"]) for item in body["data"]] == [["dense"], ["dense"]]
    assert body["warnings"] == []
    assert body["processing_time_ms"] > 0


async def test_every_output_names_its_model(client: httpx.AsyncClient) -> None:
    body = await embed(client, sentences=["a"])

    names = ("model_name", "dense_model_name", "sparse_model_name", "colbert_model_name")
    assert {body[name] for name in names} == {"fake/embedding"}


async def test_sparse_is_a_map_from_token_to_weight_or_what_qdrant_takes(
    client: httpx.AsyncClient,
) -> None:
    asked = {"sentences": ["a b"], "return_sparse": True, "return_dense": False}
    plain = (await embed(client, **asked))["data"][0]["embeddings"]
    qdrant = (await embed(client, **asked, sparse_as_indices=True))["data"][0]["embeddings"]

    assert list(plain) == ["sparse"]
    indices, values = qdrant["sparse"]["indices"], qdrant["sparse"]["values"]
    assert indices == sorted(indices)
    assert plain["sparse"] == dict(zip(map(str, indices), values, strict=True))


async def test_colbert_gives_a_vector_for_each_token(client: httpx.AsyncClient) -> None:
    body = await embed(client, sentences=["a b c"], return_colbert=True, return_dense=False)

    rows = np.array(body["data"][0]["embeddings"]["colbert"])
    assert rows.shape == (4, 8)  # three words and the end


async def test_a_cut_text_is_warned_of_with_exactly_these_members(
    client: httpx.AsyncClient,
) -> None:
    body = await embed(client, sentences=["short", "word " * 600])

    assert body["warnings"] == [
        {
            "code": "input_truncated",
            "severity": "warning",
            "message": "Input text was truncated to the model token limit.",
            "target": {"field": "sentences", "index": 1, "pointer": "/sentences/1"},
            "details": {
                "model": "fake/embedding",
                "max_tokens": 512,
                "original_tokens": 602,
                "truncated_tokens": 90,
                "truncation_side": "end",
            },
        }
    ]


async def test_the_start_of_a_long_text_may_be_cut_instead(client: httpx.AsyncClient) -> None:
    text = "first " + "word " * 600 + "last"
    [end] = (await embed(client, sentences=[text]))["warnings"]
    [start] = (await embed(client, sentences=[text], truncation_side="start"))["warnings"]

    assert end["details"]["truncation_side"] == "end"
    assert start["details"]["truncation_side"] == "start"


async def test_base64_packs_dense_and_each_colbert_row(client: httpx.AsyncClient) -> None:
    asked = {"sentences": ["a b"], "return_colbert": True}
    plain = (await embed(client, **asked))["data"][0]["embeddings"]
    packed = (await embed(client, **asked, encoding_format="base64"))["data"][0]["embeddings"]

    def floats(text: str) -> list[float]:
        return np.frombuffer(base64.b64decode(text), "<f4").tolist()

    assert floats(packed["dense"]) == pytest.approx(plain["dense"])
    assert [floats(row) for row in packed["colbert"]] == [
        pytest.approx(r) for r in plain["colbert"]
    ]


async def test_dense_vectors_can_be_shortened(client: httpx.AsyncClient) -> None:
    body = await embed(client, sentences=["a"], dimensions=4)

    vector = np.array(body["data"][0]["embeddings"]["dense"])
    assert vector.shape == (4,)
    assert np.linalg.norm(vector) == pytest.approx(1)


async def test_an_instruction_is_read_before_each_sentence(
    client: httpx.AsyncClient, fake_embedding: Any
) -> None:
    await embed(client, sentences=["a"], instruction="find this:")
    [told] = fake_embedding.prepare(["find this: a"])

    assert fake_embedding.passes[0][0].tolist() == told.ids.tolist()


async def test_passages_come_back_best_first_with_their_place(client: httpx.AsyncClient) -> None:
    passages = ["one", "two", "three", "four"]
    answer = await client.post("/rerank", json={"query": "q", "passages": passages})
    body = answer.json()

    scores = [result["score"] for result in body["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert [passages[result["index"]] for result in body["results"]] == [
        result["passage"] for result in body["results"]
    ]
    assert body["model_name"] == "fake/reranker"


async def test_raw_scores_order_like_probabilities(client: httpx.AsyncClient) -> None:
    asked = {"query": "q", "passages": ["one", "two", "three"]}
    raw = (await client.post("/rerank", json=asked | {"normalize": False})).json()["results"]
    nice = (await client.post("/rerank", json=asked)).json()["results"]

    assert [result["index"] for result in raw] == [result["index"] for result in nice]
    expected = [1 / (1 + np.exp(-result["score"])) for result in raw]
    assert [result["score"] for result in nice] == pytest.approx(expected, rel=1e-5)


async def test_only_the_best_are_given_when_so_many_are_asked_for(
    client: httpx.AsyncClient,
) -> None:
    asked = {"query": "q", "passages": ["one", "two", "three"], "top_n": 2}
    assert len((await client.post("/rerank", json=asked)).json()["results"]) == 2


async def test_a_cut_passage_is_warned_of(client: httpx.AsyncClient) -> None:
    asked = {"query": "q", "passages": ["short", "word " * 600]}
    [warning] = (await client.post("/rerank", json=asked)).json()["warnings"]

    assert warning["code"] == "passage_truncated"
    assert warning["message"] == "Passage text was truncated to the model token limit."
    assert warning["target"] == {"field": "passages", "index": 1, "pointer": "/passages/1"}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/embeddings/", {"sentences": []}, "sentences"),
        ("/embeddings/", {"sentences": "one"}, "sentences"),
        ("/embeddings/", {"sentences": ["one", 2]}, "sentences[1]"),
        ("/embeddings/", {"sentences": ["one"], "dimensions": 0}, "dimensions"),
        ("/embeddings/", {"sentences": ["one"], "truncation_side": "left"}, "truncation_side"),
        ("/rerank", {"query": "q", "passages": []}, "passages"),
        ("/rerank", {"passages": ["one"]}, "query"),
        ("/rerank", {"query": "q", "passages": ["one"], "top_n": 0}, "top_n"),
    ],
)
async def test_a_wrong_value_is_422_and_its_field_is_named(
    client: httpx.AsyncClient, path: str, body: dict[str, object], field: str
) -> None:
    answer = await client.post(path, json=body)

    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert answer.json()["detail"]


async def test_a_full_queue_is_waited_for_and_then_503(
    make_client: MakeClient, fake_embedding: Any
) -> None:
    fake_embedding.gate.clear()
    full = {"max_queue_requests": 1}
    async with make_client(engine=full, acquire_timeout=0.02) as client:
        ask = {"sentences": ["one"]}
        first = asyncio.create_task(client.post("/embeddings/", json=ask))
        await asyncio.to_thread(fake_embedding.running.wait)
        refused = await client.post("/embeddings/", json={"sentences": ["two"]})
        fake_embedding.gate.set()

        assert refused.status_code == 503
        assert refused.json()["code"] == "overloaded"
        assert int(refused.headers["retry-after"]) >= 1
        assert (await first).status_code == 200


async def test_room_that_comes_in_time_is_taken(
    make_client: MakeClient, fake_embedding: Any
) -> None:
    fake_embedding.gate.clear()
    async with make_client(engine={"max_queue_requests": 1}, acquire_timeout=30) as client:
        first = asyncio.create_task(client.post("/embeddings/", json={"sentences": ["one"]}))
        await asyncio.to_thread(fake_embedding.running.wait)
        second = asyncio.create_task(client.post("/embeddings/", json={"sentences": ["two"]}))
        fake_embedding.gate.set()
        assert [(await task).status_code for task in (first, second)] == [200, 200]


async def test_any_other_format_is_refused_at_once_with_429(
    make_client: MakeClient, fake_embedding: Any
) -> None:
    fake_embedding.gate.clear()
    async with make_client(engine={"max_queue_requests": 1}, acquire_timeout=3600) as client:
        first = asyncio.create_task(client.post("/embeddings/", json={"sentences": ["one"]}))
        await asyncio.to_thread(fake_embedding.running.wait)
        refused = [
            await client.post("/v1/embeddings", json={"input": "two"}),
            await client.post("/api/v1/embed", json={"inputs": "two"}),
            await client.post("/embed", json={"inputs": "two"}),
        ]
        fake_embedding.gate.set()
        await first

        assert [answer.status_code for answer in refused] == [429, 429, 429]
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
