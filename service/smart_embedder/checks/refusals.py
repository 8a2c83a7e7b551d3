"""What the server must not accept."""

from dataclasses import replace

from smart_embedder.checks.server import TEXTS, Check, Server, expect
from smart_embedder.client import Connection


def an_empty_list_is_refused(server: Server) -> str:
    body = server.post("/embeddings/", {"sentences": []}, status=422)
    expect(body.get("code"), f"no code in {sorted(body)}")
    return str(body["code"])


def a_wrong_type_is_refused(server: Server) -> str:
    body = server.post("/embeddings/", {"sentences": 7}, status=422)
    expect("sentences" in str(body), f"the field is not named in {body}")
    return "422"


def broken_json_is_refused(server: Server) -> str:
    server.post("/v1/embeddings", b'{"input": ', status=400)
    return "400"


def an_unknown_model_is_refused(server: Server) -> str:
    body = server.post("/v1/embeddings", {"input": "x", "model": "no/such-model"}, status=404)
    return str(body["error"]["code"])


def a_wrong_method_is_refused(server: Server) -> str:
    server.get("/v1/embeddings", status=405)
    return "405"


def a_request_without_the_token_is_refused(server: Server) -> str:
    with Connection(replace(server.target, token="")) as stranger:
        answer = stranger.post("/embeddings/", {"sentences": TEXTS})
        expect(answer.status == 401, f"status {answer.status} without a token")
        expect(stranger.get("/health").status == 200, "the public /health needs a token")
    return "401"


CHECKS: tuple[Check, ...] = (
    an_empty_list_is_refused,
    a_wrong_type_is_refused,
    broken_json_is_refused,
    an_unknown_model_is_refused,
    a_wrong_method_is_refused,
)
WITH_TOKEN: tuple[Check, ...] = (a_request_without_the_token_is_refused,)
