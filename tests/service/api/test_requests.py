"""The way of every request: what stops it before, while and after its body is read."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import structlog

from smart_embedder.app import create_app
from smart_embedder.lifecycle import Lifecycle
from smart_embedder.scheduling.observer import Kind, Lane, Silent
from smart_embedder.settings import Settings

pytestmark = pytest.mark.anyio
MakeClient = Callable[..., Any]

ASK = {"sentences": ["a"]}
# A path of every format, with what its clients read as the message.
SHAPES = [
    ("/embeddings", lambda body: body["detail"]),
    ("/v1/embeddings", lambda body: body["error"]["message"]),
    ("/api/v1/embed", lambda body: body["error"]),
    ("/embed", lambda body: body["error"]),
    ("/v2/rerank", lambda body: body["message"]),
    ("/score", lambda body: body["error"]["message"]),
    ("/embedding", lambda body: body["error"]["message"]),
]
Message = Callable[[Any], str]


@pytest.mark.parametrize(("path", "message"), SHAPES)
async def test_malformed_json_is_400_in_the_formats_own_shape(
    client: httpx.AsyncClient, path: str, message: Message
) -> None:
    for body in (b"{", b"", b"\xff", b'{"a": NaN}'):
        answer = await client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400, body
        assert message(answer.json())


@pytest.mark.parametrize(
    "body",
    [
        b'{"input": "\xff"}',
        b'{"input": "\\ud800"}',
        b'{"input": ' + b"[" * 100_000,
        b'{"input": 1e999}',
        b'"input"',
    ],
)
async def test_no_body_is_strange_enough_for_a_500(client: httpx.AsyncClient, body: bytes) -> None:
    for path in ("/v1/embeddings", "/embeddings"):
        answer = await client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422)


@pytest.mark.parametrize(("path", "message"), SHAPES)
async def test_a_body_that_is_not_json_is_415_and_a_compressed_one_too(
    client: httpx.AsyncClient, path: str, message: Message
) -> None:
    plain = await client.post(path, content=b"{}", headers={"content-type": "text/plain"})
    packed = await client.post(path, json={}, headers={"content-encoding": "gzip"})
    assert (plain.status_code, packed.status_code) == (415, 415)
    assert "text/plain" in message(plain.json())


@pytest.mark.parametrize(
    "media_type", ["application/json", "application/json; charset=utf-8", "application/ld+json"]
)
async def test_json_has_several_names(client: httpx.AsyncClient, media_type: str) -> None:
    answer = await client.post(
        "/embeddings", content=b'{"sentences": ["a"]}', headers={"content-type": media_type}
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(("path", "message"), SHAPES)
async def test_a_body_that_is_too_large_is_413_announced_or_not(
    make_client: MakeClient, path: str, message: Message
) -> None:
    async def stream() -> Any:
        for _ in range(100):
            yield b" " * 100

    async with make_client(max_body_bytes=1000) as client:
        announced = await client.post(path, json={"input": "x" * 1000})
        grown = await client.post(
            path, content=stream(), headers={"content-type": "application/json"}
        )
    assert (announced.status_code, grown.status_code) == (413, 413)
    assert "1000" in message(announced.json())


@pytest.mark.parametrize(("path", "message"), SHAPES)
async def test_without_the_token_it_is_401(
    make_client: MakeClient, path: str, message: Message
) -> None:
    async with make_client(api_token="s3cret") as client:
        for headers in ({}, {"authorization": "Bearer other"}):
            answer = await client.post(path, json={}, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert message(answer.json())
        known = await client.post(
            "/embeddings", json=ASK, headers={"authorization": "Bearer s3cret"}
        )
    assert known.status_code == 200


async def test_a_client_over_its_share_is_429_and_told_to_wait_a_minute(
    make_client: MakeClient,
) -> None:
    share = {"rate_limit_burst_size": 2, "rate_limit_requests_per_minute": 1}
    async with make_client(**share) as client:
        answers = [await client.post("/embeddings", json=ASK) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "60"
    assert answers[2].json()["code"] == "rate_limited"


async def test_tokens_cannot_be_tried_faster_than_the_limit(make_client: MakeClient) -> None:
    share = {"rate_limit_burst_size": 2, "rate_limit_requests_per_minute": 1}
    async with make_client(api_token="s3cret", **share) as client:
        tried = [await client.post("/embeddings", json=ASK) for _ in range(3)]
        known = await client.post(
            "/embeddings", json=ASK, headers={"authorization": "Bearer s3cret"}
        )
    assert [answer.status_code for answer in tried] == [401, 401, 429]
    assert known.status_code == 200


async def test_behind_a_trusted_proxy_each_client_has_its_own_share(
    make_client: MakeClient,
) -> None:
    share = {"rate_limit_burst_size": 1, "rate_limit_requests_per_minute": 1}
    async with make_client(trusted_proxies="127.0.0.0/8", **share) as client:
        statuses = [
            (
                await client.post("/embeddings", json=ASK, headers={"x-forwarded-for": address})
            ).status_code
            for address in ("6.6.6.6", "6.6.6.6", "7.7.7.7")
        ]
    assert statuses == [200, 429, 200]


async def test_a_proxy_that_adds_a_header_of_its_own_is_believed_before_its_client(
    make_client: MakeClient,
) -> None:
    share = {"rate_limit_burst_size": 1, "rate_limit_requests_per_minute": 1}
    async with make_client(trusted_proxies="127.0.0.0/8", **share) as client:
        statuses = [
            (
                await client.post(
                    "/embeddings",
                    json=ASK,
                    headers=[("x-forwarded-for", said), ("x-forwarded-for", "6.6.6.6")],
                )
            ).status_code
            for said in ("7.7.7.7", "8.8.8.8")
        ]
    assert statuses == [200, 429]


async def test_a_wrong_method_is_405_and_an_unknown_path_404(client: httpx.AsyncClient) -> None:
    for path, message in SHAPES:
        wrong = await client.put(path, json={})
        assert wrong.status_code == 405
        assert "POST" in wrong.headers["allow"]
        assert message(wrong.json())
    nowhere = await client.post("/nowhere", json={})
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "headers",
    [{"x-request-timeout": "soon"}, {"x-request-timeout": "-1"}, {"x-priority": "high"}],
)
async def test_a_header_that_means_nothing_is_refused(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await client.post("/api/v1/embed", json={"inputs": "a"}, headers=headers)
    assert answer.status_code == 422
    assert next(iter(headers)).lower() in answer.json()["error"].lower()


async def test_the_time_a_client_gives_is_the_time_it_waits(
    client: httpx.AsyncClient, fake_embedding: Any
) -> None:
    fake_embedding.gate.clear()
    answer = await client.post("/embeddings", json=ASK, headers={"x-request-timeout": "0.05"})
    fake_embedding.gate.set()
    assert answer.status_code == 504
    assert answer.json()["code"] == "deadline_exceeded"


async def test_a_body_that_never_ends_runs_out_of_time(make_client: MakeClient) -> None:
    async def stream() -> Any:
        yield b"{"
        await asyncio.Event().wait()

    async with make_client(request_timeout=0.05) as client:
        answer = await client.post(
            "/embeddings", content=stream(), headers={"content-type": "application/json"}
        )
    assert answer.status_code == 504


async def test_the_callers_id_comes_back_and_without_one_it_gets_one(
    client: httpx.AsyncClient,
) -> None:
    given = await client.post("/embeddings", json=ASK, headers={"x-request-id": "trace-7"})
    unfit = await client.post("/embeddings", json=ASK, headers={"x-request-id": "a b"})
    assert given.headers["x-request-id"] == "trace-7"
    assert unfit.headers["x-request-id"] != "a b"
    assert len(unfit.headers["x-request-id"]) == 16


async def test_an_answer_names_its_fingerprint_and_stage_times(
    client: httpx.AsyncClient, fake_embedding: Any
) -> None:
    answer = await client.post("/v1/embeddings", json={"input": ["a b", "c"]})
    assert answer.headers["x-vector-fingerprint"] == fake_embedding.card.fingerprint
    assert answer.headers["x-compute-tokens"] == "7"
    assert answer.headers["x-compute-characters"] == "4"
    for stage in ("total", "tokenization", "queue", "inference"):
        assert int(answer.headers[f"x-{stage}-time"]) >= 0


async def test_a_bug_is_500_and_neither_log_nor_answer_repeats_a_text(
    client: httpx.AsyncClient, fake_embedding: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LookupError("private words")

    fake_embedding.prepare = broken
    with structlog.testing.capture_logs() as events, caplog.at_level(logging.DEBUG):
        answer = await client.post("/embeddings", json={"sentences": ["private words"]})
    assert answer.status_code == 500
    assert "private" not in answer.text + str(events) + caplog.text
    assert any("test_requests.py" in str(event.get("frames")) for event in events)


async def test_a_client_that_goes_away_leaves_the_queue(
    make_engine: Any, lifecycle: Lifecycle, fake_embedding: Any
) -> None:
    fake_embedding.gate.clear()
    door = Door()
    async with make_engine(observer=door) as engine:
        app = create_app(Settings(), engine, lifecycle)
        gone = asyncio.Event()

        async def ask(text: str, event: asyncio.Event) -> None:
            body = f'{{"sentences": ["{text}"]}}'.encode()
            events = iter([{"type": "http.request", "body": body, "more_body": False}])

            async def receive() -> Any:
                for message in events:
                    return message
                await event.wait()
                return {"type": "http.disconnect"}

            async def send(_: Any) -> None:
                pass

            await app(_scope(), receive, send)  # type: ignore[arg-type] # a scope as servers make it

        first = asyncio.create_task(ask("first", asyncio.Event()))
        await asyncio.to_thread(fake_embedding.running.wait)
        second = asyncio.create_task(ask("second", gone))
        await door.second.wait()
        gone.set()
        await second
        assert engine.queue().depth == 1
        fake_embedding.gate.set()
        await first
        assert fake_embedding.texts_seen == 1


async def test_what_is_abandoned_is_answered_503(
    client: httpx.AsyncClient, lifecycle: Lifecycle, fake_embedding: Any
) -> None:
    fake_embedding.gate.clear()
    asked = asyncio.create_task(client.post("/embeddings", json=ASK))
    await asyncio.to_thread(fake_embedding.running.wait)
    lifecycle.abandon()
    answer = await asked
    fake_embedding.gate.set()
    assert answer.status_code == 503
    assert answer.json()["code"] == "unavailable"


async def test_more_requests_than_the_server_takes_are_refused_and_probes_are_not(
    make_client: MakeClient, fake_embedding: Any
) -> None:
    fake_embedding.gate.clear()
    async with make_client(uvicorn_limit_concurrency=1) as client:
        first = asyncio.create_task(client.post("/embeddings", json=ASK))
        await asyncio.to_thread(fake_embedding.running.wait)
        refused = await client.post("/v1/embeddings", json={"input": "a"})
        probe = await client.get("/health")
        fake_embedding.gate.set()
        assert (await first).status_code == 200
    assert (refused.status_code, probe.status_code) == (429, 200)


class Door(Silent):
    """Tells when the second request has come in."""

    def __init__(self) -> None:
        self.second = asyncio.Event()
        self._seen = 0

    def admitted(self, kind: Kind, lane: Lane, texts: int) -> None:
        del kind, lane, texts
        self._seen += 1
        if self._seen == 2:
            self.second.set()


def _scope() -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/embeddings",
        "raw_path": b"/embeddings",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
