"""Probes, counts, pages."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from smart_embedder.lifecycle import Lifecycle
from smart_embedder.results import Progress, State
from smart_embedder.scheduling.observer import Kind, Silent

pytestmark = pytest.mark.anyio
MakeClient = Callable[..., Any]

PUBLIC = ["/health", "/health/live", "/health/ready", "/health/startup", "/stats", "/metrics"]
PAGES = ["/docs", "/redoc", "/openapi.json"]


@pytest.mark.parametrize("path", PUBLIC + PAGES)
async def test_public_pages_need_no_token_and_cost_no_share(
    make_client: MakeClient, path: str
) -> None:
    async with make_client(
        api_token="s", rate_limit_requests_per_minute=1, rate_limit_burst_size=1
    ) as client:
        for _ in range(3):
            assert (await client.get(path)).status_code == 200


async def test_health_says_what_is_served(client: httpx.AsyncClient) -> None:
    health = (await client.get("/health")).json()

    assert health["status"] == "healthy"
    assert health["version"]
    assert health["model"] == health["dense_embedding_model"] == "fake/embedding"
    assert health["reranker_model"] == "fake/reranker"
    assert health["gpu_available"] is False
    assert health["gpu_memory"] == {"allocated": 0, "reserved": 0, "free": 0, "total": 0}
    assert health["max_batch_tokens"] == 4096


async def test_before_the_models_are_there_probes_say_so_and_how_far_it_is(
    client: httpx.AsyncClient, lifecycle: Lifecycle
) -> None:
    lifecycle.state = State.STARTING
    lifecycle.report(Progress(stage="downloading", model="a/b", done=10_000_000, total=20_000_000))
    statuses = [(await client.get(path)).status_code for path in PUBLIC[:4]]
    startup = (await client.get("/health/startup")).json()
    refused = await client.post("/embeddings/", json={"sentences": ["a"]})

    assert statuses == [503, 200, 503, 503]
    assert startup["message"] == "downloading a/b, 10 of 20 MB"
    assert (startup["stage"], startup["done"], startup["total"]) == (
        "downloading",
        10_000_000,
        20_000_000,
    )
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "5"


async def test_while_draining_readiness_goes_first_and_then_work_is_refused(
    client: httpx.AsyncClient, lifecycle: Lifecycle
) -> None:
    lifecycle.become(State.DRAINING)
    statuses = [(await client.get(path)).status_code for path in PUBLIC[:4]]
    assert statuses == [503, 200, 503, 200]
    ask = {"sentences": ["a"]}
    assert (await client.post("/embeddings/", json=ask)).status_code == 200

    lifecycle.closing = True
    assert (await client.post("/embeddings/", json=ask)).status_code == 503


class Watch(Silent):
    """Tells when a pass has run past its limit."""

    def __init__(self) -> None:
        self.late = asyncio.Event()

    def timed_out(self, kind: Kind) -> None:
        del kind
        self.late.set()


async def test_a_stuck_worker_is_told_by_liveness(
    make_client: MakeClient, fake_embedding: Any
) -> None:
    watch = Watch()
    limits = {"embed_timeout_seconds": 0.02, "observer": watch}
    async with make_client(engine=limits) as client:
        fake_embedding.stuck.set()
        stuck = await client.post("/embeddings/", json={"sentences": ["a"]})
        await watch.late.wait()
        live, health = await client.get("/health/live"), await client.get("/health")
        fake_embedding.stuck.clear()

    assert stuck.status_code == 504
    assert (live.status_code, live.json()) == (503, {"alive": False})
    assert (health.status_code, health.json()["status"]) == (503, "failed")


async def test_stats_count_requests_sentences_and_batches(client: httpx.AsyncClient) -> None:
    await client.post("/embeddings/", json={"sentences": ["a", "b"]})
    await client.post("/rerank", json={"query": "q", "passages": ["a"]})
    stats = (await client.get("/stats")).json()

    assert stats["total_requests"] == 2
    assert stats["total_sentences"] == 3
    assert stats["total_batches"] == 2
    assert stats["rejected_requests"] == 0
    assert stats["uptime_seconds"] > 0


async def test_metrics_can_be_switched_off(make_client: MakeClient) -> None:
    async with make_client(enable_metrics=False) as client:
        assert (await client.get("/metrics")).status_code == 404


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_pages_take_everything_from_this_machine(
    client: httpx.AsyncClient, page: str
) -> None:
    text = (await client.get(page)).text
    assert "http://" not in text.replace("http://localhost", "")
    assert "https://" not in text
    for asset in ("swagger_bundle.js", "swagger_style.css", "redoc.js"):
        if asset in text:
            found = await client.get(f"/docs/assets/{asset}")
            assert found.status_code == 200
            assert len(found.content) > 100_000


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_a_slash_too_many_leads_to_the_page_behind_any_prefix(
    client: httpx.AsyncClient, page: str
) -> None:
    found = await client.get(f"{page}/", follow_redirects=False)
    assert found.status_code == 307
    assert urljoin(f"http://host/prefix{page}/", found.headers["location"]) == (
        f"http://host/prefix{page}"
    )


@pytest.mark.parametrize("name", ["scalar.js", "__init__.py", "..%2f..%2fsettings.py"])
async def test_no_other_file_is_given_away(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/docs/assets/{name}")).status_code == 404


async def test_the_document_shows_a_lock_where_a_token_is_needed(make_client: MakeClient) -> None:
    async with make_client(api_token="s") as client:
        locked = (await client.get("/openapi.json")).json()
    async with make_client() as client:
        open_ = (await client.get("/openapi.json")).json()

    assert locked["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert locked["paths"]["/embeddings"]["post"]["security"] == [{"token": []}]
    assert "security" not in locked["paths"]["/health"]["get"]
    assert "security" not in open_["paths"]["/embeddings"]["post"]


async def test_the_document_describes_every_format_of_a_shared_path(
    client: httpx.AsyncClient,
) -> None:
    document = (await client.get("/openapi.json")).json()

    body = document["paths"]["/rerank"]["post"]["requestBody"]["content"]["application/json"]
    required = [
        set(document["components"]["schemas"][choice["$ref"].rpartition("/")[2]]["required"])
        for choice in body["schema"]["anyOf"]
    ]
    assert {"query", "passages"} in required
    assert {"query", "documents"} in required
    assert {"query", "texts"} in required


async def test_every_reference_of_the_document_leads_somewhere(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}

    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            here = {value["$ref"]} if "$ref" in value else set()
            return here.union(*map(references, value.values()))
        if isinstance(value, list):
            return set().union(*map(references, value))
        return set()

    assert references(document) <= known
