"""Cohere's and Jina's reranking."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest

pytestmark = pytest.mark.anyio
MakeClient = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

BODY = {"query": "q", "documents": ["x one", {"text": "y two", "id": 3}, "z three"]}
TEXTS = ["x one", "y two", "z three"]


async def post(client: httpx.AsyncClient, path: str, **more: object) -> httpx.Response:
    return await client.post(path, json=BODY | more)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_an_answer_is_the_union_of_what_the_clients_read(
    path: str, client: httpx.AsyncClient
) -> None:
    body = (await post(client, path)).json()
    assert {"id", "object", "model", "results", "usage", "meta"} == set(body)
    assert body["model"] == "fake/reranker"
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0
    assert body["meta"]["api_version"]["version"] == ("2" if path.startswith("/v2") else "1")
    assert body["meta"]["billed_units"] == {"search_units": 1}
    scores = [result["relevance_score"] for result in body["results"]]
    assert scores == sorted(scores, reverse=True)
    assert sorted(result["index"] for result in body["results"]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("path", "asked", "echo"),
    [
        ("/rerank", None, lambda text: text),
        ("/rerank", True, lambda text: text),
        ("/rerank", False, None),
        ("/v1/rerank", None, lambda text: {"text": text}),
        ("/v1/rerank", False, None),
        ("/v2/rerank", None, None),
        ("/v2/rerank", True, lambda text: {"text": text}),
    ],
)
async def test_documents_come_back_as_the_path_and_the_request_say(
    path: str, asked: bool | None, echo: Callable[[str], object] | None, client: httpx.AsyncClient
) -> None:
    body = (await post(client, path, return_documents=asked)).json()
    for result in body["results"]:
        if echo is None:
            assert "document" not in result
        else:
            assert result["document"] == echo(TEXTS[result["index"]])


@pytest.mark.parametrize(("top_n", "count"), [(1, 1), (2, 2), (9, 3), (0, 3), (None, 3)])
async def test_top_n_keeps_the_best(
    top_n: int | None, count: int, client: httpx.AsyncClient
) -> None:
    whole = (await post(client, "/v2/rerank")).json()["results"]
    kept = (await post(client, "/v2/rerank", top_n=top_n)).json()["results"]
    assert kept == whole[:count]


async def test_a_document_is_cut_to_its_own_limit_and_the_query_is_not(
    client: httpx.AsyncClient,
) -> None:
    long_query = {"query": "a b c d e"}
    cut = (await post(client, "/v2/rerank", max_tokens_per_doc=1, **long_query)).json()
    short = {"documents": ["x", "y", "z"]}
    same = (await post(client, "/v2/rerank", **long_query, **short)).json()
    assert cut["results"] == same["results"]


async def test_an_echoed_document_is_the_whole_one(client: httpx.AsyncClient) -> None:
    body = (await post(client, "/rerank", max_tokens_per_doc=1)).json()
    assert sorted(result["document"] for result in body["results"]) == TEXTS


@pytest.mark.parametrize(
    "where",
    [
        {"instruction": "find"},
        {"instruct": "find"},
        {"chat_template_kwargs": {"instruction": "find"}},
    ],
)
async def test_an_instruction_is_read_wherever_a_client_puts_it(
    where: dict[str, object], client: httpx.AsyncClient
) -> None:
    plain = (await post(client, "/v2/rerank")).json()
    told = (await post(client, "/v2/rerank", **where)).json()
    spelled = (await post(client, "/v2/rerank", query="find q")).json()
    assert told["results"] == spelled["results"] != plain["results"]


async def test_a_cut_is_told_among_the_warnings(client: httpx.AsyncClient) -> None:
    body = (await post(client, "/v2/rerank", documents=["x", "y " * 600])).json()
    [warning] = body["meta"]["warnings"]
    assert warning.startswith("documents[1] was cut from 600 to ")


@pytest.mark.parametrize(
    ("more", "status", "word"),
    [
        ({"documents": []}, 400, "documents"),
        ({"documents": ["x"] * 101}, 400, "100"),
        ({"documents": [7]}, 400, "documents"),
        ({"query": None}, 400, "query"),
        ({"top_n": -1}, 400, "top_n"),
        ({"max_tokens_per_doc": 0}, 400, "max_tokens_per_doc"),
        ({"model": "no/such"}, 404, "no/such"),
        ({"documents": ["poison"]}, 500, ""),
    ],
)
async def test_a_refusal_is_a_message(
    more: dict[str, object], status: int, word: str, client: httpx.AsyncClient
) -> None:
    answer = await post(client, "/v1/rerank", **more)
    assert answer.status_code == status
    assert word in answer.json()["message"]


async def test_the_number_of_documents_is_a_setting(make_client: MakeClient) -> None:
    async with make_client(max_documents=2) as client:
        assert (await post(client, "/rerank")).status_code == 400
        assert (await post(client, "/rerank", documents=["x", "y"])).status_code == 200


async def test_two_formats_in_one_body_are_refused_for_each_to_read(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/rerank", json={"query": "q", "documents": ["x"], "texts": ["x"]})
    assert answer.status_code == 422
    assert {"detail", "message", "error"} <= set(answer.json())
