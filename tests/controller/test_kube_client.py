"""The client, against a small HTTP server of ours: what goes over the wire, and every refusal."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from smart_embedder_operator import kinds, kube_client
from smart_embedder_operator.credentials import Credentials
from smart_embedder_operator.kube import Conflict, Forbidden, Invalid, KubeError, NotFound
from smart_embedder_operator.kube_client import KubeClient

pytestmark = pytest.mark.anyio

Answer = Callable[[web.Request], web.Response]


class Server:
    """Notes requests and answers them as told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.headers: list[Any] = []
        self.answers: list[web.Response] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path, dict(request.query), body))
        self.headers.append(request.headers)
        return self.answers.pop(0) if self.answers else web.json_response({})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = site.name
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@contextlib.asynccontextmanager
async def client(server: Server, **more: Any) -> AsyncIterator[tuple[KubeClient, list[Any]]]:
    seen: list[Any] = []
    credentials = Credentials(server=server.url, **more)
    async with KubeClient(credentials, lambda *told: seen.append(told)) as kube:
        yield kube, seen


async def test_apply_is_a_forced_server_side_apply_by_our_field_manager(server: Server) -> None:
    manifest = {"metadata": {"name": "search", "namespace": "ml"}, "spec": {}}
    async with client(server) as (kube, seen):
        await kube.apply(kinds.DEPLOYMENTS, manifest)
        await kube.apply(kinds.DEPLOYMENTS, manifest, manager="other")
    path = "/apis/apps/v1/namespaces/ml/deployments/search"
    ours = {"fieldManager": "smart-embedder-operator", "force": "true"}
    assert server.requests == [
        ("PATCH", path, ours, manifest),
        ("PATCH", path, ours | {"fieldManager": "other"}, manifest),
    ]
    assert server.headers[0]["Content-Type"] == "application/apply-patch+yaml"
    assert seen == [("PATCH", 200), ("PATCH", 200)]


async def test_a_list_is_read_page_by_page_and_its_items_say_what_they_are(server: Server) -> None:
    def page(name: str, following: str) -> web.Response:
        items = [{"metadata": {"name": name}}]
        return web.json_response({"metadata": {"continue": following}, "items": items})

    server.answers = [page("a", "token"), page("b", "")]
    async with client(server) as (kube, _):
        found = await kube.list(kinds.PODS, "ml", labels="a=b", fields="c=d")
    assert [(pod["kind"], pod["apiVersion"], pod["metadata"]["name"]) for pod in found] == [
        ("Pod", "v1", "a"),
        ("Pod", "v1", "b"),
    ]
    first, second = (query for _, _, query, _ in server.requests)
    assert first == {"limit": "500", "labelSelector": "a=b", "fieldSelector": "c=d"}
    assert second == first | {"continue": "token"}


async def test_a_status_is_merged_into_the_subresource_alone(server: Server) -> None:
    async with client(server) as (kube, _):
        await kube.merge_status(kinds.EMBEDDERS, "search", "ml", {"replicas": None})
    method, path, _, body = server.requests[0]
    assert (method, body) == ("PATCH", {"status": {"replicas": None}})
    assert path == "/apis/smart-embedder.io/v1alpha1/namespaces/ml/embedders/search/status"
    assert server.headers[0]["Content-Type"] == "application/merge-patch+json"


async def test_a_delete_is_meant_for_one_object_and_not_for_its_successor(server: Server) -> None:
    async with client(server) as (kube, _):
        await kube.delete(kinds.SERVICES, "search", "ml", uid="7")
    assert server.requests[0][3] == {
        "propagationPolicy": "Background",
        "preconditions": {"uid": "7"},
    }


async def test_create_and_replace_go_where_they_belong(server: Server) -> None:
    manifest = {"metadata": {"name": "a", "namespace": "ml"}}
    async with client(server) as (kube, _):
        await kube.create(kinds.EVENTS, manifest)
        await kube.replace(kinds.SERVICES, manifest)
    assert [(method, path) for method, path, _, _ in server.requests] == [
        ("POST", "/api/v1/namespaces/ml/events"),
        ("PUT", "/api/v1/namespaces/ml/services/a"),
    ]


async def test_the_kinds_of_a_group_and_of_one_that_is_not_there(server: Server) -> None:
    server.answers = [
        web.json_response({"resources": [{"kind": "ServiceMonitor"}]}),
        web.json_response({"message": "no"}, status=404),
    ]
    async with client(server) as (kube, _):
        assert await kube.kinds("monitoring.coreos.com", "v1") == {"ServiceMonitor"}
        assert await kube.kinds("keda.sh", "v1alpha1") == frozenset()


@pytest.mark.parametrize(
    ("status", "cls", "retryable"),
    [
        (400, Invalid, False),
        (403, Forbidden, False),
        (404, NotFound, False),
        (409, Conflict, True),
        (422, Invalid, False),
        (429, KubeError, True),
        (500, KubeError, True),
        (503, KubeError, True),
        (504, KubeError, True),
    ],
)
async def test_every_refusal_is_an_error_that_knows_whether_to_try_again(
    server: Server, status: int, cls: type[KubeError], *, retryable: bool
) -> None:
    answer = {"message": "the reason in words", "reason": "Because"}
    server.answers = [web.json_response(answer, status=status, headers={"Retry-After": "7"})]
    async with client(server) as (kube, seen):
        with pytest.raises(cls, match="the reason in words") as refused:
            await kube.get(kinds.PODS, "a", "ml")
    error = refused.value
    assert (error.status, error.reason, error.retry_after) == (status, "Because", 7.0)
    assert error.retryable is retryable
    assert seen == [("GET", status)]


async def test_a_refusal_that_is_no_json_is_told_as_it_is(server: Server) -> None:
    server.answers = [web.Response(text="<html>bad gateway", status=502)]
    async with client(server) as (kube, _):
        with pytest.raises(KubeError, match="bad gateway"):
            await kube.delete(kinds.PODS, "a", "ml")


async def test_a_read_is_tried_again_and_a_write_is_not(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_client, "READ_RETRY_SECONDS", 0.001)
    server.answers = [web.Response(status=500) for _ in range(3)]
    async with client(server) as (kube, seen):
        assert await kube.list(kinds.PODS, "ml") == []
        assert [code for _, code in seen] == [500, 500, 500, 200]
        seen.clear()
        server.answers = [web.Response(status=500)]
        with pytest.raises(KubeError):
            await kube.apply(kinds.PODS, {"metadata": {"name": "a"}})
        assert seen == [("PATCH", 500)]


async def test_a_read_gives_up_in_the_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_client, "READ_RETRY_SECONDS", 0.001)
    server.answers = [web.Response(status=503) for _ in range(9)]
    async with client(server) as (kube, seen):
        with pytest.raises(KubeError):
            await kube.get(kinds.PODS, "a", "ml")
    assert len(seen) == kube_client.READ_TRIES


async def test_no_answer_at_all_is_worth_another_try() -> None:
    nobody = Credentials(server="http://127.0.0.1:1")
    async with KubeClient(nobody) as kube:
        with pytest.raises(KubeError, match="no answer") as refused:
            await kube.get(kinds.PODS, "a", "ml")
    assert refused.value.retryable


async def test_a_renewed_token_is_used_at_once(server: Server, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")
    async with client(server, token_file=token) as (kube, _):
        await kube.get(kinds.PODS, "a", "ml")
        token.write_text("new\n")
        await kube.get(kinds.PODS, "a", "ml")
    assert [headers["Authorization"] for headers in server.headers] == ["Bearer old", "Bearer new"]
