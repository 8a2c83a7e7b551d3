"""One request in each of the other wire formats."""

import base64
import struct

from smart_embedder.checks.server import PASSAGES, QUERY, TEXTS, Check, Server, cosine, expect


def _openai(server: Server, **options: object) -> dict[str, object]:
    return {"model": server.get("/health").json()["dense_embedding_model"], **options}


def openai_embeddings(server: Server) -> str:
    body = server.post("/v1/embeddings", _openai(server, input=TEXTS))
    expect(body["object"] == "list" and len(body["data"]) == 2, f"the answer holds {sorted(body)}")
    expect(body["usage"]["prompt_tokens"] > 0, f"usage {body['usage']}")
    return f"{body['usage']['total_tokens']} tokens"


def openai_base64_equals_floats(server: Server) -> str:
    request = _openai(server, input=TEXTS[0])
    floats = server.post("/v1/embeddings", request)["data"][0]["embedding"]
    packed = server.post("/v1/embeddings", {**request, "encoding_format": "base64"})
    raw = base64.b64decode(packed["data"][0]["embedding"])
    angle = cosine(floats, struct.unpack(f"<{len(raw) // 4}f", raw))
    expect(angle > 0.9999, f"cosine {angle}")
    return f"{len(raw)} bytes"


def openai_lists_the_models(server: Server) -> str:
    models = [model["id"] for model in server.get("/v1/models").json()["data"]]
    expect(models, "no model")
    return ", ".join(models)


def cohere_rerank(server: Server) -> str:
    body = server.post("/v2/rerank", {"query": QUERY, "documents": PASSAGES, "top_n": 2})
    expect(len(body["results"]) == 2, f"{len(body['results'])} results for top_n 2")
    return f"{body['results'][0]['relevance_score']:.4f}"


def tei_embed(server: Server) -> str:
    rows = server.post("/embed", {"inputs": TEXTS})
    expect(len(rows) == 2 and isinstance(rows[0][0], float), "not a list of two vectors")
    return f"2 x {len(rows[0])}"


def api_v1_embed(server: Server) -> str:
    body = server.post("/api/v1/embed", {"inputs": TEXTS[0]})
    expect({"data", "usage", "timings"} <= set(body), f"the answer holds {sorted(body)}")
    return f"inference {body['timings']['inference']}"


def llama_cpp_embedding(server: Server) -> str:
    body = server.post("/embedding", {"content": TEXTS[0]})
    expect(body[0]["index"] == 0 and body[0]["embedding"][0], "not a list of embeddings")
    return f"{len(body[0]['embedding'][0])} wide"


CHECKS: tuple[Check, ...] = (
    openai_embeddings,
    openai_base64_equals_floats,
    openai_lists_the_models,
    cohere_rerank,
    tei_embed,
    api_v1_embed,
    llama_cpp_embedding,
)
