"""The native dialect: each kind of vector and the ranking."""

from smart_embedder.checks.server import PASSAGES, TEXTS, Check, Server, cosine, expect, length


def dense_vectors(server: Server) -> str:
    one, two = (item["dense"] for item in server.embed())
    expect(len(one) == len(two) > 0, f"widths {len(one)} and {len(two)}")
    expect(one != two, "two texts have the same vector")
    return f"{len(one)} wide"


def dense_alone_is_the_default(server: Server) -> str:
    kinds = sorted(server.embed()[0])
    expect(kinds == ["dense"], f"the answer holds {kinds}")
    return "dense"


def dense_is_normalised_on_request(server: Server) -> str:
    seen = length(server.embed(normalize_dense=True)[0]["dense"])
    expect(abs(seen - 1) < 1e-3, f"length {seen}")
    return f"length {seen:.5f}"


def sparse_weights_by_token_id(server: Server) -> str:
    weights = server.embed(return_sparse=True)[0]["sparse"]
    expect(weights, "no token has a weight")
    expect(all(key.isdigit() for key in weights), f"keys like {next(iter(weights))!r}")
    return f"{len(weights)} tokens"


def sparse_as_indices_for_qdrant(server: Server) -> str:
    sparse = server.embed(return_sparse=True, sparse_as_indices=True)[0]["sparse"]
    expect(sorted(sparse) == ["indices", "values"], f"the answer holds {sorted(sparse)}")
    expect(len(sparse["indices"]) == len(sparse["values"]) > 0, "lengths differ")
    return f"{len(sparse['indices'])} indices"


def colbert_vectors(server: Server) -> str:
    rows = server.embed(return_colbert=True)[0]["colbert"]
    expect(rows and len({len(row) for row in rows}) == 1, "rows of different widths")
    return f"{len(rows)} x {len(rows[0])}"


def all_outputs_in_one_request(server: Server) -> str:
    item = server.embed(return_sparse=True, return_colbert=True)[0]
    expect(sorted(item) == ["colbert", "dense", "sparse"], f"the answer holds {sorted(item)}")
    return ", ".join(sorted(item))


def a_text_alone_and_in_company_has_the_same_vector(server: Server) -> str:
    alone = server.embed(["A text that may travel alone."])[0]["dense"]
    company = ["A text that may travel alone.", "Another one, longer than the first by far."]
    angle = cosine(alone, server.embed(company)[0]["dense"])
    expect(angle > 0.999, f"cosine {angle}")
    return f"cosine {angle:.6f}"


def answers_name_their_vector_fingerprint(server: Server) -> str:
    answer = server.connection.post("/embeddings/", {"sentences": TEXTS})
    fingerprint = answer.headers.get("x-vector-fingerprint", "")
    expect(fingerprint, "no X-Vector-Fingerprint header")
    return fingerprint


def rerank_sorts_by_score(server: Server) -> str:
    results = server.rerank()
    scores = [result["score"] for result in results]
    expect(scores == sorted(scores, reverse=True), f"scores {scores}")
    return f"best is passage {results[0]['index']}"


def rerank_names_the_original_positions(server: Server) -> str:
    results = server.rerank()
    expect(sorted(result["index"] for result in results) == [0, 1, 2], "an index is missing")
    expect(all(PASSAGES[r["index"]] == r["passage"] for r in results), "a passage is swapped")
    return "0, 1, 2"


def rerank_normalises_to_one(server: Server) -> str:
    scores = [result["score"] for result in server.rerank(normalize=True)]
    expect(all(0 <= score <= 1 for score in scores), f"scores {scores}")
    return f"{min(scores):.4f} to {max(scores):.4f}"


CHECKS: tuple[Check, ...] = (
    dense_vectors,
    dense_alone_is_the_default,
    dense_is_normalised_on_request,
    sparse_weights_by_token_id,
    sparse_as_indices_for_qdrant,
    colbert_vectors,
    all_outputs_in_one_request,
    a_text_alone_and_in_company_has_the_same_vector,
    answers_name_their_vector_fingerprint,
    rerank_sorts_by_score,
    rerank_names_the_original_positions,
    rerank_normalises_to_one,
)
