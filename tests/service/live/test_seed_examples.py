"""The examples of the services this one stands in for: each request answered in its own shape.

`recorded/` holds the requests; the structs below are the answers, with every field they show.
"""

import json
from pathlib import Path
from typing import Any, Protocol

import httpx
import msgspec
import pytest

pytestmark = pytest.mark.timeout(300)  # the first test waits for the service, and torch

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.json"))


class Live(Protocol):
    """What the fixture gives."""

    url: str
    token: str
    log: Path
    headers: dict[str, str]


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """A body with no more and no fewer fields than these."""


class NativeVectors(Answer):
    dense: list[float] | None = None
    sparse: dict[str, float] | None = None
    colbert: list[list[float]] | None = None


class SparseVector(Answer):
    indices: list[int]
    values: list[float]


class QdrantVectors(Answer):
    dense: list[float]
    sparse: SparseVector


class NativeItem(Answer):
    id: int
    text: str
    embeddings: NativeVectors


class QdrantItem(Answer):
    id: int
    text: str
    embeddings: QdrantVectors


class NativeAnswer(Answer):
    model_name: str
    processing_time_ms: float
    warnings: list[Any]


class NativeEmbeddings(NativeAnswer):
    dense_model_name: str
    sparse_model_name: str
    colbert_model_name: str
    data: list[NativeItem]


class NativeEmbeddingsForQdrant(NativeAnswer):
    dense_model_name: str
    sparse_model_name: str
    colbert_model_name: str
    data: list[QdrantItem]


class NativeScore(Answer):
    index: int
    passage: str
    score: float


class NativeRanking(NativeAnswer):
    results: list[NativeScore]


class Health(msgspec.Struct):
    version: str
    model: str
    dense_embedding_model: str
    reranker_model: str


class Stats(msgspec.Struct):
    total_requests: int
    total_sentences: int
    total_batches: int
    rejected_requests: int


class Usage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class Timings(Answer):
    tokenization: str
    queue: str
    inference: str


class TimedEmbedding(Answer):
    embedding: list[float]
    index: int


class TimedEmbeddings(Answer):
    data: list[TimedEmbedding]
    usage: Usage
    timings: Timings


class DocumentScore(Answer):
    index: int
    relevance_score: float
    document: str


class DocumentRanking(msgspec.Struct):
    results: list[DocumentScore]


class OpenAIEmbedding(Answer):
    object: str
    index: int
    embedding: list[float]


class OpenAIEmbeddings(Answer):
    object: str
    data: list[OpenAIEmbedding]
    model: str
    usage: Usage


class OpenAIModel(msgspec.Struct):
    id: str
    object: str
    owned_by: str


class OpenAIModels(Answer):
    object: str
    data: list[OpenAIModel]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_request_is_answered_in_its_own_shape(path: Path, live: Live) -> None:
    recorded = json.loads(path.read_text())
    answer = httpx.request(
        recorded["method"],
        live.url + recorded["path"],
        json=recorded.get("body"),
        headers=live.headers,
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    body = msgspec.json.decode(answer.content, type=globals()[recorded["answer"]])
    texts = recorded.get("body", {}).get("sentences")
    assert texts is None or [item.text for item in body.data] == texts


@pytest.mark.parametrize("name", ["native_rerank", "documents_rerank"])
def test_a_ranking_falls_from_best_to_worst(name: str, live: Live) -> None:
    recorded = json.loads((Path(__file__).parent / "recorded" / f"{name}.json").read_text())
    answer = httpx.post(live.url + recorded["path"], json=recorded["body"], headers=live.headers)
    scores = [
        result.get("score", result.get("relevance_score")) for result in answer.json()["results"]
    ]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_the_start_is_told_in_the_words_that_people_wait_for(live: Live) -> None:
    lines = [json.loads(line) for line in live.log.read_text().splitlines() if line[:1] == "{"]
    told = [line["message"] for line in lines]
    words = ["runtime_config", "warmup_ok", "Reranker ready.", "Server ready to accept requests"]
    assert [word for word in told if word in words] == words
    config = lines[told.index("runtime_config")]
    assert config["reranker_model"] == "demo/bge-reranker-v2-m3"
    assert live.token not in live.log.read_text()


@pytest.mark.parametrize("slash", ["/embeddings", "/embeddings/"])
def test_the_native_path_works_with_and_without_the_slash(slash: str, live: Live) -> None:
    answer = httpx.post(live.url + slash, json={"sentences": ["x"]}, headers=live.headers)
    assert answer.status_code == 200
    assert "data" in answer.json()


@pytest.mark.parametrize(
    "path", ["/health", "/stats", "/metrics", "/docs", "/redoc", "/openapi.json"]
)
def test_public_pages_need_no_token(path: str, live: Live) -> None:
    assert httpx.get(live.url + path).status_code == 200


def test_everything_else_needs_the_token(live: Live) -> None:
    for path in ("/embeddings/", "/rerank", "/v1/embeddings", "/api/v1/embed", "/embed"):
        assert httpx.post(live.url + path, json={}).status_code == 401, path
