"""The clients people already have, each against the running service by changing its address."""

from collections.abc import Iterator
from typing import Protocol

import cohere
import httpx
import huggingface_hub
import numpy as np
import openai
import pytest
from qdrant_client import QdrantClient
from qdrant_client import models as qdrant

pytestmark = pytest.mark.timeout(300)  # the first test waits for the service, and torch

TEXTS = ["Hello world!", "Ciao mondo!", "Machine learning finds patterns in data."]
QUERY = "What is machine learning?"
DOCUMENTS = ["Machine learning is a subset of AI.", "The weather is nice.", "Nets learn."]


class Live(Protocol):
    """What the fixture gives."""

    url: str
    token: str
    headers: dict[str, str]


@pytest.fixture
def http(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, headers=live.headers) as client:
        yield client


@pytest.fixture
def openai_client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=live.token, max_retries=0) as client:
        yield client


@pytest.fixture
def cohere_v2(live: Live) -> Iterator[cohere.ClientV2]:
    with httpx.Client() as connections:
        yield cohere.ClientV2(live.token, base_url=live.url, httpx_client=connections)


@pytest.fixture
def cohere_v1(live: Live) -> Iterator[cohere.Client]:
    with httpx.Client() as connections:
        yield cohere.Client(live.token, base_url=live.url, httpx_client=connections)


@pytest.fixture
def hub_client(live: Live) -> Iterator[huggingface_hub.InferenceClient]:
    yield huggingface_hub.InferenceClient(live.url, token=live.token)
    huggingface_hub.close_session()


def test_openai_reads_base64_and_floats_alike(openai_client: openai.OpenAI) -> None:
    packed = openai_client.embeddings.create(model="bge-m3", input=TEXTS)
    plain = openai_client.embeddings.create(model="bge-m3", input=TEXTS, encoding_format="float")
    assert [item.index for item in packed.data] == [0, 1, 2]
    np.testing.assert_allclose(packed.data[2].embedding, plain.data[2].embedding, atol=1e-6)
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 0


def test_openai_cuts_dimensions_and_takes_token_ids(openai_client: openai.OpenAI) -> None:
    by_text = openai_client.embeddings.create(model="bge-m3", input="Hello", dimensions=32)
    by_ids = openai_client.embeddings.create(model="bge-m3", input=[[5, 6, 7], [8, 9]])
    assert len(by_text.data[0].embedding) == 32
    assert np.linalg.norm(by_text.data[0].embedding) == pytest.approx(1, abs=1e-4)
    assert len(by_ids.data) == 2


def test_openai_lists_models_and_names_the_unknown_one(openai_client: openai.OpenAI) -> None:
    assert "demo/bge-m3" in [model.id for model in openai_client.models.list()]
    with pytest.raises(openai.NotFoundError) as missing:
        openai_client.embeddings.create(model="no/such", input="x")
    assert missing.value.code == "model_not_found"
    assert missing.value.param == "model"


def test_openai_is_refused_without_the_token(live: Live) -> None:
    with (
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.embeddings.create(model="bge-m3", input="x")


def test_cohere_v2_reranks_and_embeds(cohere_v2: cohere.ClientV2) -> None:
    ranking = cohere_v2.rerank(model="default", query=QUERY, documents=DOCUMENTS, top_n=2)
    assert len(ranking.results) == 2
    assert ranking.results[0].relevance_score >= ranking.results[1].relevance_score
    answer = cohere_v2.embed(
        model="default",
        texts=TEXTS,
        input_type="search_document",
        embedding_types=["float", "int8", "ubinary"],
    )
    assert answer.embeddings.float_ is not None
    width = len(answer.embeddings.float_[0])
    assert answer.embeddings.int8 is not None
    assert len(answer.embeddings.int8[0]) == width
    assert answer.embeddings.ubinary is not None
    assert len(answer.embeddings.ubinary[0]) == width // 8


def test_cohere_v1_reranks_with_documents_and_embeds(cohere_v1: cohere.Client) -> None:
    ranking = cohere_v1.rerank(
        model="default", query=QUERY, documents=DOCUMENTS, return_documents=True
    )
    best = ranking.results[0]
    assert best.document is not None
    assert best.document.text == DOCUMENTS[best.index]
    answer = cohere_v1.embed(texts=TEXTS, model="default", input_type="search_query")
    assert len(answer.embeddings) == 3


def test_cohere_raises_its_own_error_with_our_message(cohere_v2: cohere.ClientV2) -> None:
    with pytest.raises(cohere.NotFoundError, match="no/such"):
        cohere_v2.rerank(model="no/such", query=QUERY, documents=DOCUMENTS)


def test_hugging_face_extracts_features(hub_client: huggingface_hub.InferenceClient) -> None:
    plain = hub_client.feature_extraction("Hello world!")
    raw = hub_client.feature_extraction(
        "Hello world!", normalize=False, truncate=True, truncation_direction="left"
    )
    assert plain.shape == raw.shape
    assert plain.shape[0] == 1
    assert np.linalg.norm(plain) == pytest.approx(1, abs=1e-4)


def test_hugging_face_compares_sentences(hub_client: huggingface_hub.InferenceClient) -> None:
    scores = hub_client.sentence_similarity("Hello world!", other_sentences=["Hello world!", "No"])
    assert scores[0] == pytest.approx(1, abs=1e-4)
    assert scores[1] < scores[0]


def test_qdrant_finds_the_text_by_each_kind_of_vector(http: httpx.Client) -> None:
    request = {
        "sentences": TEXTS,
        "return_sparse": True,
        "return_colbert": True,
        "sparse_as_indices": True,
    }
    items = [item["embeddings"] for item in http.post("/embeddings/", json=request).json()["data"]]
    client = QdrantClient(":memory:")
    client.create_collection(
        "texts",
        vectors_config={
            "dense": qdrant.VectorParams(
                size=len(items[0]["dense"]), distance=qdrant.Distance.COSINE
            ),
            "colbert": qdrant.VectorParams(
                size=len(items[0]["colbert"][0]),
                distance=qdrant.Distance.COSINE,
                multivector_config=qdrant.MultiVectorConfig(
                    comparator=qdrant.MultiVectorComparator.MAX_SIM
                ),
            ),
        },
        sparse_vectors_config={"sparse": qdrant.SparseVectorParams()},
    )
    client.upsert(
        "texts",
        [
            qdrant.PointStruct(id=number, vector=item | {"sparse": sparse(item)})
            for number, item in enumerate(items)
        ],
    )
    for number, item in enumerate(items):
        for kind, query in (("dense", item["dense"]), ("colbert", item["colbert"])):
            [best] = client.query_points("texts", query=query, using=kind, limit=1).points
            assert best.id == number, kind
        [best] = client.query_points("texts", query=sparse(item), using="sparse", limit=1).points
        assert best.id == number
    client.close()


def sparse(item: dict[str, dict[str, list[float]]]) -> qdrant.SparseVector:
    return qdrant.SparseVector.model_validate(item["sparse"])


def test_httpx_sees_timings_and_the_fingerprint_of_tei(http: httpx.Client) -> None:
    answer = http.post("/embed", json={"inputs": TEXTS})
    assert answer.status_code == 200
    assert answer.headers["x-vector-fingerprint"]
    assert int(answer.headers["x-compute-characters"]) == sum(map(len, TEXTS))
    assert {"x-total-time", "x-tokenization-time", "x-queue-time", "x-inference-time"} <= set(
        answer.headers
    )


def test_two_connections_get_the_same_vector(live: Live) -> None:
    answers = [
        httpx.post(f"{live.url}/embed", json={"inputs": "same"}, headers=live.headers)
        for _ in range(2)
    ]
    assert answers[0].content == answers[1].content
