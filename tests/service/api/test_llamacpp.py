"""The format of llama.cpp's server."""

import httpx
import numpy as np
import pytest

pytestmark = pytest.mark.anyio


async def test_a_vector_is_the_only_row_of_a_matrix(client: httpx.AsyncClient) -> None:
    body = (await client.post("/embedding", json={"content": "a b"})).json()
    dense = (await client.post("/embed", json={"inputs": "a b"})).json()
    assert body == [{"index": 0, "embedding": dense}]


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/embedding", {"content": ["a", "b"]}),
        ("/embedding", {"input": ["a", "b"]}),
        ("/embeddings", {"content": ["a", "b"]}),
        ("/embeddings", {"input": ["a", "b"], "embd_normalize": 2}),
    ],
)
async def test_each_path_takes_its_bodies(
    path: str, request_: dict[str, object], client: httpx.AsyncClient
) -> None:
    body = (await client.post(path, json=request_)).json()
    assert [item["index"] for item in body] == [0, 1]


async def test_input_alone_on_the_shared_path_is_openais(client: httpx.AsyncClient) -> None:
    body = (await client.post("/embeddings", json={"input": "a"})).json()
    assert body["object"] == "list"


@pytest.mark.parametrize(
    ("norm", "length"),
    [
        (0, lambda row: np.abs(row).max() / 32760),
        (1, lambda row: np.abs(row).sum()),
        (2, np.linalg.norm),
        (3, lambda row: (np.abs(row) ** 3).sum() ** (1 / 3)),
        (2**31 - 1, lambda row: np.abs(row).max()),
    ],
)
async def test_a_vector_is_normalised_by_the_norm_that_is_named(
    norm: int, length: object, client: httpx.AsyncClient
) -> None:
    bodies = [
        (await client.post("/embedding", json={"content": "a", "embd_normalize": number})).json()
        for number in (norm, -1)
    ]
    row, raw = (np.array(body[0]["embedding"][0]) for body in bodies)
    assert callable(length)
    assert length(row) == pytest.approx(1, abs=1e-4)
    assert np.dot(row, raw) / np.linalg.norm(row) / np.linalg.norm(raw) == pytest.approx(1)


async def test_documents_get_an_object_and_texts_a_list(client: httpx.AsyncClient) -> None:
    documents = await client.post("/reranking", json={"query": "q", "documents": ["x", "y", "z"]})
    texts = await client.post(
        "/v1/reranking",
        json={"query": "q", "texts": ["x", "y", "z"], "return_text": True, "top_n": 2},
    )
    ranks = documents.json()["results"]
    assert documents.json()["object"] == "list"
    assert documents.json()["usage"]["total_tokens"] > 0
    assert [rank["index"] for rank in texts.json()] == [rank["index"] for rank in ranks[:2]]
    assert texts.json()[0]["score"] == ranks[0]["relevance_score"]
    assert texts.json()[0]["text"] == "xyz"[ranks[0]["index"]]


async def test_tokens_come_with_their_pieces_when_asked(client: httpx.AsyncClient) -> None:
    ids = (await client.post("/tokenize", json={"content": "ab cd"})).json()["tokens"]
    pieces = await client.post("/tokenize", json={"content": "ab cd", "with_pieces": True})
    assert pieces.json()["tokens"] == [
        {"id": ids[0], "piece": "ab"},
        {"id": ids[1], "piece": "cd"},
    ]
    text = await client.post("/detokenize", json={"tokens": ids})
    assert text.json() == {"content": f"{ids[0]} {ids[1]}"}


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/embedding", {"content": []}),
        ("/embedding", {"content": "a", "embd_normalize": -2}),
        ("/embedding", {"content": "a", "embd_normalize": 2**31}),
        ("/reranking", {"query": "q", "documents": []}),
        ("/reranking", {"query": "q", "documents": ["x"], "top_n": -1}),
    ],
)
async def test_a_refusal_has_the_shape_its_clients_parse(
    path: str, request_: dict[str, object], client: httpx.AsyncClient
) -> None:
    answer = await client.post(path, json=request_)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, 400)
    assert error["type"] == "invalid_request_error"
    assert error["message"]


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/embedding", {}),
        ("/embedding", {"content": "a", "input": "a"}),
        ("/reranking", {"query": "q"}),
    ],
)
async def test_exactly_one_name_for_the_texts_is_needed(
    path: str, request_: dict[str, object], client: httpx.AsyncClient
) -> None:
    answer = await client.post(path, json=request_)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, 422)
