"""TEI's format."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from smart_embedder.models.model import RECIPES

pytestmark = pytest.mark.anyio
MakeClient = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


async def test_one_text_and_many_are_both_a_list_of_vectors(client: httpx.AsyncClient) -> None:
    one = (await client.post("/embed", json={"inputs": "a b"})).json()
    many = (await client.post("/embed", json={"inputs": ["a b", "c"]})).json()
    assert len(one) == 1
    assert one[0] == many[0]
    assert np.linalg.norm(one[0]) == pytest.approx(1, abs=1e-5)


async def test_token_ids_are_a_text(client: httpx.AsyncClient) -> None:
    flat = (await client.post("/embed", json={"inputs": [11, 12]})).json()
    mixed = (await client.post("/embed", json={"inputs": [[11, 12], "a"]})).json()
    assert len(flat) == 1
    assert len(mixed) == 2
    assert flat[0] == mixed[0]


async def test_vectors_stay_raw_and_are_cut_when_asked(client: httpx.AsyncClient) -> None:
    raw = await client.post("/embed", json={"inputs": "a", "normalize": False, "dimensions": 3})
    assert len(raw.json()[0]) == 3
    assert np.linalg.norm(raw.json()[0]) != pytest.approx(1, abs=1e-3)


async def test_sparse_weights_are_pairs(client: httpx.AsyncClient) -> None:
    [pairs] = (await client.post("/embed_sparse", json={"inputs": "a b"})).json()
    assert [sorted(pair) for pair in pairs] == [["index", "value"]] * len(pairs)
    indices = [pair["index"] for pair in pairs]
    assert indices == sorted(indices)
    assert {pair["value"] for pair in pairs} == {0.5}


async def test_embed_all_gives_colbert_vectors(client: httpx.AsyncClient) -> None:
    body = {"sentences": ["a b c"], "return_colbert": True}
    native = (await client.post("/embeddings/", json=body)).json()
    [rows] = (await client.post("/embed_all", json={"inputs": "a b c"})).json()
    assert rows == native["data"][0]["embeddings"]["colbert"]


async def test_a_ranking_is_a_sorted_list(client: httpx.AsyncClient) -> None:
    request = {"query": "q", "texts": ["x", "y", "z"], "return_text": True}
    ranks = (await client.post("/rerank", json=request)).json()
    assert [request["texts"][rank["index"]] for rank in ranks] == [rank["text"] for rank in ranks]
    scores = [rank["score"] for rank in ranks]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)


async def test_raw_scores_are_logits_without_the_text(client: httpx.AsyncClient) -> None:
    request = {"query": "q", "texts": ["x", "y"]}
    plain = (await client.post("/rerank", json=request)).json()
    raw = (await client.post("/rerank", json=request | {"raw_scores": True})).json()
    assert list(raw[0]) == ["index", "score"]
    assert 1 / (1 + np.exp(-raw[0]["score"])) == pytest.approx(plain[0]["score"], abs=1e-6)


async def test_a_pair_too_long_is_refused_when_it_must_not_be_cut(
    client: httpx.AsyncClient,
) -> None:
    request = {"query": "q", "texts": ["x", "y " * 600], "truncate": False}
    answer = await client.post("/rerank", json=request)
    assert answer.status_code == 422
    assert "600 tokens" in answer.json()["error"]
    assert (await client.post("/rerank", json=request | {"truncate": True})).status_code == 200


async def test_a_ranking_is_cut_at_the_side_that_is_named(client: httpx.AsyncClient) -> None:
    kept = "c " * 509  # of 512, with two special tokens and the query
    requests = (
        {"texts": ["a " * 300 + kept], "truncation_direction": "Left"},
        {"texts": [kept + "b " * 300], "truncation_direction": "right"},
        {"texts": [kept]},
    )
    left, right, whole = [
        (await client.post("/rerank", json=request | {"query": "q"})).json() for request in requests
    ]
    assert left == right == whole


async def test_pairs_are_scored_in_their_order_under_the_rerankers_one_label(
    client: httpx.AsyncClient,
) -> None:
    pairs = [["p", "x"], ["p", "y"], ["q", "x"]]
    many = (await client.post("/predict", json={"inputs": pairs})).json()
    each = [(await client.post("/predict", json={"inputs": pair})).json() for pair in pairs]
    assert many == each
    info = (await client.get("/info")).json()["models"][1]
    ranks = (await client.post("/rerank", json={"query": "q", "texts": ["x"]})).json()
    assert info["outputs"] == ["score"]
    assert many[2] == [{"score": ranks[0]["score"], "label": "LABEL_0"}]


async def test_a_pair_is_scored_as_its_request_says(client: httpx.AsyncClient) -> None:
    raw = (await client.post("/predict", json={"inputs": ["q", "x"], "raw_scores": True})).json()
    request = {"query": "q", "texts": ["x"], "raw_scores": True}
    assert raw[0]["score"] == (await client.post("/rerank", json=request)).json()[0]["score"]
    long = {"inputs": [["p", "x"], ["q", "x"], ["q", "y " * 600]], "truncate": False}
    answer = await client.post("/predict", json=long)
    assert answer.status_code == 422
    assert "inputs[2]" in answer.json()["error"]


@pytest.mark.parametrize(
    "inputs", [[], "alone", ["alone"], [["alone"]], [["a", "b"], "c"], ["a", "b", "c"], [["a"] * 3]]
)
async def test_a_reranker_predicts_nothing_of_a_text_that_is_no_pair(
    inputs: object, client: httpx.AsyncClient
) -> None:
    answer = await client.post("/predict", json={"inputs": inputs})
    assert answer.status_code == 422
    assert "pairs" in answer.json()["error"]


async def test_what_pairs_of_several_texts_cost_adds_up(client: httpx.AsyncClient) -> None:
    pairs = [["p", "x y"], ["q", "z"]]
    one, other = [await client.post("/predict", json={"inputs": pair}) for pair in pairs]
    both = await client.post("/predict", json={"inputs": pairs})
    for name in ("x-compute-tokens", "x-compute-characters"):
        assert int(both.headers[name]) == int(one.headers[name]) + int(other.headers[name])


async def test_too_many_pairs_are_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/predict", json={"inputs": [["a", "b"]] * 33})
    assert answer.status_code == 422
    assert "32" in answer.json()["error"]


async def test_similarity_is_the_cosine_with_each_sentence(client: httpx.AsyncClient) -> None:
    inputs = {"source_sentence": "a b", "sentences": ["a b", "c"]}
    same, other = (await client.post("/similarity", json={"inputs": inputs})).json()
    vectors = (await client.post("/embed", json={"inputs": ["a b", "c"]})).json()
    assert same == pytest.approx(1, abs=1e-5)
    assert other == pytest.approx(float(np.dot(*vectors)), abs=1e-5)


async def test_the_root_tells_texts_from_sentences_to_compare(client: httpx.AsyncClient) -> None:
    sentences = {"source_sentence": "a", "sentences": ["a"]}
    compared = await client.post("/", json={"inputs": sentences, "parameters": {}})
    embedded = await client.post("/", json={"inputs": "a"})
    ranked = await client.post("/", json={"query": "q", "texts": ["x"]})
    assert compared.json() == pytest.approx([1.0], abs=1e-5)
    assert embedded.json() == (await client.post("/embed", json={"inputs": "a"})).json()
    assert ranked.json()[0]["index"] == 0


async def test_tokens_can_be_seen_and_read_back(client: httpx.AsyncClient) -> None:
    [whole] = (await client.post("/tokenize", json={"inputs": "ab cd"})).json()
    request = {"inputs": "ab cd", "add_special_tokens": False}
    [pieces] = (await client.post("/tokenize", json=request)).json()
    assert [piece["text"] for piece in pieces] == ["ab", "cd"]
    assert [piece for piece in whole if not piece["special"]] == pieces
    assert sorted(pieces[0]) == ["id", "special", "start", "stop", "text"]
    ids = [piece["id"] for piece in pieces]
    read = (await client.post("/decode", json={"ids": [ids, ids[:1]]})).json()
    assert read == [f"{ids[0]} {ids[1]}", str(ids[0])]
    assert (await client.post("/decode", json={"ids": ids})).json() == read[:1]


async def test_a_long_text_is_cut_at_the_side_that_is_named(client: httpx.AsyncClient) -> None:
    kept = "c " * 510
    requests = (
        {"inputs": "a " * 300 + kept, "truncation_direction": "left"},
        {"inputs": kept + "b " * 300, "truncation_direction": "Right"},
        {"inputs": kept},
    )
    left, right, whole = [
        (await client.post("/embed", json=request)).json() for request in requests
    ]
    assert left == right == whole


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"inputs": []}, 400, "Empty"),
        ({"inputs": 7}, 422, "Validation"),
        ({"inputs": ["a", 7]}, 422, "Validation"),
        ({"inputs": "a", "dimensions": 9}, 422, "Validation"),
        ({"inputs": "a", "dimensions": 0}, 422, "Validation"),
        ({"inputs": "a", "prompt_name": "none such"}, 422, "Validation"),
        ({"inputs": "a " * 600, "truncate": False}, 422, "Validation"),
        ({"inputs": ["a"] * 33}, 422, "Validation"),
        ({"inputs": "poison"}, 424, "Backend"),
    ],
)
async def test_a_refusal_has_its_status_and_type(
    request_: dict[str, object], status: int, words: str, client: httpx.AsyncClient
) -> None:
    answer = await client.post("/embed", json=request_)
    assert (answer.status_code, answer.json()["error_type"]) == (status, words)
    assert answer.json()["error"]


async def test_a_refusal_names_the_text_as_the_client_does(client: httpx.AsyncClient) -> None:
    answer = await client.post("/embed", json={"inputs": ["a", "b " * 600], "truncate": False})
    assert "inputs[1]" in answer.json()["error"]


async def test_a_named_prompt_goes_before_the_text(make_client: MakeClient) -> None:
    async with make_client(prompts={"query": "a b"}) as client:
        prompted = await client.post("/embed", json={"inputs": "c", "prompt_name": "query"})
        spelled = await client.post("/embed", json={"inputs": "a b c"})
    assert prompted.json() == spelled.json()


async def test_a_prompt_of_the_model_itself_is_known_unless_one_is_set(
    make_client: MakeClient, fake_embedding: Any
) -> None:
    fake_embedding.card = replace(fake_embedding.card, prompts={"query": "m n"})
    async with make_client() as client:
        for path in ("/embed", "/embed_sparse", "/api/v1/embed"):
            prompted = await client.post(path, json={"inputs": "c", "prompt_name": "query"})
            spelled = await client.post(path, json={"inputs": "m n c"})
            assert _without_times(prompted) == _without_times(spelled)
    async with make_client(prompts={"query": "a b"}) as client:
        prompted = await client.post("/embed", json={"inputs": "c", "prompt_name": "query"})
        spelled = await client.post("/embed", json={"inputs": "a b c"})
        assert prompted.json() == spelled.json()


def _without_times(answer: httpx.Response) -> object:
    body = answer.json()
    return body["data"] if isinstance(body, dict) else body


async def test_times_and_counts_are_headers(client: httpx.AsyncClient) -> None:
    answer = await client.post("/embed", json={"inputs": ["ab", "c d"]})
    assert answer.headers["x-compute-characters"] == "5"
    assert answer.headers["x-compute-tokens"] == "7"
    for name in ("compute-time", "total-time", "tokenization-time", "queue-time", "inference-time"):
        assert answer.headers[f"x-{name}"].isdigit()


async def test_info_names_every_model_and_its_fingerprint(client: httpx.AsyncClient) -> None:
    info = (await client.get("/info")).json()
    assert info["model_id"] == "fake/embedding"
    assert info["model_type"] == {"embedding": {"pooling": "cls"}}
    assert [model["name"] for model in info["models"]] == ["fake/embedding", "fake/reranker"]
    answer = await client.post("/embed", json={"inputs": "a"})
    assert answer.headers["x-vector-fingerprint"] == info["models"][0]["fingerprint"]


async def test_info_tells_the_recipe_that_is_part_of_the_fingerprint(
    make_client: MakeClient, fake_embedding: Any
) -> None:
    fake_embedding.card = replace(fake_embedding.card, dtype="int8")
    async with make_client() as client:
        rounded, exact = (await client.get("/info")).json()["models"]
    assert (rounded["dtype"], rounded["recipe"]) == ("int8", RECIPES["int8"])
    assert (exact["dtype"], exact["recipe"]) == ("float32", None)
