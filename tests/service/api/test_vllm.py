"""vLLM's pooling endpoints."""

import httpx
import pytest

pytestmark = pytest.mark.anyio


async def test_one_query_is_scored_against_many_documents_in_their_order(
    client: httpx.AsyncClient,
) -> None:
    documents = ["x", "y", "z"]
    body = (await client.post("/score", json={"queries": "q", "documents": documents})).json()
    ranking = (await client.post("/rerank", json={"query": "q", "texts": documents})).json()
    assert [(item["index"], item["object"]) for item in body["data"]] == [
        (0, "score"),
        (1, "score"),
        (2, "score"),
    ]
    assert {rank["index"]: rank["score"] for rank in ranking} == {
        item["index"]: item["score"] for item in body["data"]
    }
    assert body["usage"]["prompt_tokens"] > 0


async def test_as_many_queries_as_documents_are_scored_in_pairs(client: httpx.AsyncClient) -> None:
    pairs = {"text_1": ["p", "p", "q"], "text_2": ["x", "y", "x"]}
    scores = [item["score"] for item in (await client.post("/score", json=pairs)).json()["data"]]
    single = [
        (await client.post("/score", json={"data_1": query, "data_2": document})).json()
        for query, document in zip(pairs["text_1"], pairs["text_2"], strict=True)
    ]
    assert scores == [body["data"][0]["score"] for body in single]


async def test_without_activation_a_score_is_a_logit(client: httpx.AsyncClient) -> None:
    body = {"queries": "q", "documents": "x", "use_activation": False}
    logit = (await client.post("/score", json=body)).json()["data"][0]["score"]
    [raw] = (
        await client.post("/rerank", json={"query": "q", "texts": ["x"], "raw_scores": True})
    ).json()
    assert logit == raw["score"]


@pytest.mark.parametrize(
    "body",
    [
        {"queries": ["p", "q"], "documents": ["x", "y", "z"]},
        {"queries": "q", "text_1": "q", "documents": "x"},
        {"queries": "q"},
        {"queries": [], "documents": []},
        {"queries": "q", "documents": ["x"] * 101},
        {"queries": "q", "documents": ["x"], "truncate_prompt_tokens": -2},
    ],
)
async def test_pairs_that_do_not_fit_are_refused(
    body: dict[str, object], client: httpx.AsyncClient
) -> None:
    answer = await client.post("/score", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("BadRequestError", 400)
    assert error["message"]


async def test_pooling_gives_each_kind_of_vector(client: httpx.AsyncClient) -> None:
    native = await client.post(
        "/embeddings/",
        json={"sentences": ["a b a"], "return_sparse": True, "return_colbert": True},
    )
    vectors = native.json()["data"][0]["embeddings"]
    kinds = {}
    for task in ("embed", "token_embed", "token_classify"):
        body = (await client.post("/pooling", json={"input": "a b a", "task": task})).json()
        assert body["data"][0]["object"] == "pooling"
        assert body["model"] == "fake/embedding"
        kinds[task] = body["data"][0]["data"]
    assert kinds["embed"] == vectors["dense"]
    assert kinds["token_embed"] == vectors["colbert"]
    # A token that stands twice has a weight in each place, the special tokens at the ends none.
    assert kinds["token_classify"] == [1, 2, 3]


async def test_token_ids_are_weighed_too(client: httpx.AsyncClient) -> None:
    body = {"input": [[11, 12]], "task": "token_classify"}
    [pooled] = (await client.post("/pooling", json=body)).json()["data"]
    assert len(pooled["data"]) == 2


async def test_the_limit_of_tokens_is_the_models_own_at_minus_one(
    client: httpx.AsyncClient,
) -> None:
    request = {"input": "a b c d"}
    whole = (await client.post("/pooling", json=request)).json()
    own = (await client.post("/pooling", json=request | {"truncate_prompt_tokens": -1})).json()
    cut = (await client.post("/pooling", json=request | {"truncate_prompt_tokens": 4})).json()
    assert whole["data"] == own["data"] != cut["data"]
    assert cut["usage"]["prompt_tokens"] == 4


async def test_a_prompt_is_tokenized(client: httpx.AsyncClient) -> None:
    request = {"prompt": "ab cd", "add_special_tokens": False, "return_token_strs": True}
    body = (await client.post("/tokenize", json=request)).json()
    assert body["count"] == len(body["tokens"]) == 2
    assert body["token_strs"] == ["ab", "cd"]
    assert body["max_model_len"] == 512
