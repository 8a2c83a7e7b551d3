"""The names people's dashboards depend on, and what moves them."""

import asyncio
import random
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from smart_embedder import Engine, EngineOptions, ModelOptions
from smart_embedder.lifecycle import Lifecycle
from smart_embedder.loading import Loader
from smart_embedder.models.model import Model, Output
from smart_embedder.results import State
from smart_embedder.settings import Settings
from smart_embedder.telemetry.telemetry import Telemetry

pytestmark = pytest.mark.anyio

MakeWatched = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
GOLDEN = Path(__file__).with_name("metric_names.txt")


def samples(page: str) -> dict[str, float]:
    """Every series of a page, by name and labels."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in parse(page)
        for sample in family.samples
    }


def value(page: str, name: str, **labels: str) -> float:
    """One series."""
    return samples(page)[f"{name}{sorted(labels.items())}"]


async def test_every_name_type_and_label_is_the_one_in_the_golden_list(
    make_watched: MakeWatched,
) -> None:
    async with make_watched() as client:
        await client.post("/embeddings/", json={"sentences": ["a"]})
        await client.post("/rerank", json={"query": "a", "passages": ["a"]})
        page = (await client.get("/metrics")).text

    families = [family for family in parse(page) if not family.name.endswith("_created")]
    lines = sorted(
        f"{family.name} {family.type} "
        + ",".join(sorted({label for s in family.samples for label in s.labels} - {"le"}))
        for family in families
    )

    assert [line.strip() for line in lines] == GOLDEN.read_text().splitlines()


async def test_queue_and_counters_are_there_at_zero_before_the_first_request(
    make_watched: MakeWatched,
) -> None:
    async with make_watched() as client:
        page = (await client.get("/metrics")).text

    assert value(page, "smart_embedder_queue_depth") == 0
    assert value(page, "smart_embedder_interactive_queue_depth") == 0
    assert value(page, "embedding_requests_total", status="error", endpoint="/embeddings") == 0
    assert value(page, "rerank_requests_rejected_total", reason="requests") == 0
    assert value(page, "smart_embedder_oom_total") == 0
    assert value(page, "smart_embedder_lifecycle_state", state="ready") == 1


async def test_a_request_is_counted_with_its_texts_tokens_and_stages(
    make_watched: MakeWatched,
) -> None:
    async with make_watched() as client:
        await client.post("/embeddings/", json={"sentences": ["one two", "three"]})
        page = (await client.get("/metrics")).text

    assert value(page, "embedding_requests_total", status="success", endpoint="/embeddings") == 1
    assert value(page, "embedding_sentences_processed_total") == 2
    assert value(page, "smart_embedder_inference_duration_seconds_count") == 1
    assert value(page, "smart_embedder_batch_texts_sum") == 2
    assert value(page, "smart_embedder_requests_total", dialect="native", code="200") == 1
    assert value(page, "smart_embedder_queue_depth") == 0


async def test_tokens_are_charged_to_the_name_of_the_api_token_never_to_an_address(
    make_watched: MakeWatched,
) -> None:
    body = {"sentences": ["one two"]}
    async with make_watched() as anybody:
        await anybody.post("/embeddings/", json=body)
        open_page = (await anybody.get("/metrics")).text
    async with make_watched(api_token="secret") as client:
        await client.post("/embeddings/", json=body, headers={"Authorization": "Bearer secret"})
        page = (await client.get("/metrics")).text

    assert 'token_name="anonymous"' in open_page
    assert 'token_name="api_token"' in page
    assert "secret" not in page


async def test_a_refused_and_a_wrong_request_are_told_apart(make_watched: MakeWatched) -> None:
    async with make_watched(rate_limit_requests_per_minute=1, rate_limit_burst_size=1) as client:
        await client.post("/embeddings/", json={"sentences": 7})
        await client.post("/embeddings/", json={"sentences": ["a"]})
        page = (await client.get("/metrics")).text

    assert value(page, "embedding_requests_total", status="error", endpoint="/embeddings") == 1
    assert value(page, "embedding_requests_total", status="rejected", endpoint="/embeddings") == 1
    assert value(page, "embedding_requests_rejected_total", reason="rate") == 1


async def test_what_a_leaving_process_refuses_is_counted_as_unavailable(
    make_watched: MakeWatched,
) -> None:
    lifecycle = Lifecycle()
    async with make_watched(lifecycle=lifecycle) as client:
        lifecycle.become(State.DRAINING)
        lifecycle.closing = True
        await client.post("/embeddings/", json={"sentences": ["a"]})
        await client.post("/rerank", json={"query": "a", "passages": ["a"]})
        page = (await client.get("/metrics")).text

    assert value(page, "embedding_requests_rejected_total", reason="unavailable") == 1
    assert value(page, "rerank_requests_rejected_total", reason="unavailable") == 1


async def test_a_request_above_the_limit_of_connections_is_counted_as_refused(
    make_watched: MakeWatched,
) -> None:
    async with make_watched(uvicorn_limit_concurrency=1) as client:
        body = {"sentences": ["a"]}
        await asyncio.gather(*(client.post("/embeddings/", json=body) for _ in range(2)))
        page = (await client.get("/metrics")).text

    assert value(page, "embedding_requests_rejected_total", reason="requests") == 1


async def test_what_the_engine_refuses_is_counted_once(
    make_watched: MakeWatched, fake_embedding: Any
) -> None:
    fake_embedding.gate.clear()
    async with make_watched(scheduling={"max_queue_requests": 1}) as client:
        held = asyncio.create_task(client.post("/embed", json={"inputs": "a"}))
        while not fake_embedding.running.is_set():  # noqa: ASYNC110 - the device's thread sets it
            await asyncio.sleep(0.001)
        refused = await client.post("/embed", json={"inputs": "b"})
        fake_embedding.gate.set()
        await held
        page = (await client.get("/metrics")).text

    assert refused.status_code == 429
    assert value(page, "embedding_requests_rejected_total", reason="requests") == 1


async def test_ten_thousand_random_requests_do_not_multiply_the_series(
    make_watched: MakeWatched,
) -> None:
    rng = random.Random(5)
    bodies = [
        lambda: {"sentences": [rng.choice("abc")]},
        lambda: {"inputs": [rng.choice("abc")]},
        lambda: {"input": "a", "model": f"none-{rng.random()}"},
        lambda: {"nonsense": rng.random()},
    ]
    paths = ["/embeddings/", "/embed", "/v1/embeddings", "/api/v1/embed"]
    async with make_watched(rate_limit_requests_per_minute=0) as client:

        async def send(count: int) -> int:
            for _ in range(count):
                path = rng.choice([*paths, f"/{rng.random()}"])
                headers = {"X-Request-Id": str(rng.random())}
                await client.post(path, json=rng.choice(bodies)(), headers=headers)
            return len(samples((await client.get("/metrics")).text))

        few = await send(500)
        many = await send(9_500)

    assert many <= few + 20  # a status or two that the first five hundred did not meet


async def test_openmetrics_is_given_to_those_who_ask(make_watched: MakeWatched) -> None:
    async with make_watched() as client:
        plain = await client.get("/metrics")
        asked = await client.get("/metrics", headers={"Accept": "application/openmetrics-text"})

    assert plain.headers["content-type"].startswith("text/plain")
    assert asked.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in parse_openmetrics(asked.text)} > {"embedding_requests"}


async def test_every_metric_of_the_configuration_has_words(make_watched: MakeWatched) -> None:
    async with make_watched() as client:
        page = (await client.get("/metrics")).text

    helps = re.findall(r"^# HELP (\S+) (.*)$", page, re.MULTILINE)
    assert all(words for _, words in helps)


async def test_every_model_says_its_part_and_what_its_vectors_are(
    make_watched: MakeWatched,
) -> None:
    async with make_watched() as client:
        page = (await client.get("/metrics")).text
        card = (await client.post("/embeddings/", json={"sentences": ["a"]})).headers

    (family,) = (one for one in parse(page) if one.name == "smart_embedder_model_info")
    served = {sample.labels["role"]: sample.labels for sample in family.samples}
    assert set(served) == {"embedding", "reranker"}
    assert served["embedding"]["fingerprint"] == card["x-vector-fingerprint"]
    assert served["embedding"]["revision"]


async def test_the_dense_model_named_is_the_one_that_answers(
    make_model: Callable[..., Model], loader_of: Callable[..., Loader]
) -> None:
    served = {"m": make_model("m"), "d": make_model("d", outputs=Output.DENSE)}
    options = EngineOptions(
        embedding=ModelOptions(name="m"), dense=ModelOptions(name="d"), reranker=None
    )
    telemetry = Telemetry(Settings(), Lifecycle(), None, None)
    async with Engine(options, loader=loader_of(served)) as engine:
        telemetry.follow(engine)
        page = telemetry.render()[0].decode()

    (family,) = (one for one in parse(page) if one.name == "embedding_server_info")
    [labels] = (sample.labels for sample in family.samples)
    assert (labels["model"], labels["dense_embedding_model"]) == ("m", "d")


async def test_stats_tell_what_each_model_has_done_and_how_long_requests_take(
    make_watched: MakeWatched,
) -> None:
    async with make_watched() as client:
        await client.post("/embeddings/", json={"sentences": ["one two", "three"]})
        await client.post("/rerank", json={"query": "a", "passages": ["b"]})
        stats = (await client.get("/stats")).json()

    models = stats["counts"]["models"]
    assert models["fake/embedding"]["texts"] == 2
    assert models["fake/reranker"]["batches"] == 1
    assert stats["latency"]["count"] == 2


@pytest.mark.parametrize("path", ["/rerank", "/score", "/predict", "/v1/reranking"])
async def test_a_refused_ranking_is_counted_as_one(make_watched: MakeWatched, path: str) -> None:
    async with make_watched() as client:
        await client.post(path, json={})
        page = (await client.get("/metrics")).text

    assert value(page, "rerank_requests_total", status="error") == 1


async def test_the_body_tells_which_of_two_kinds_a_failed_request_was(
    make_watched: MakeWatched,
) -> None:
    async with make_watched() as client:
        await client.post("/", json={"texts": 7})
        await client.post("/", json={"inputs": {}})
        page = (await client.get("/metrics")).text

    assert value(page, "rerank_requests_total", status="error") == 1
    assert value(page, "embedding_requests_total", status="error", endpoint="/") == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/models", None),
        ("GET", "/v1/models/fake/embedding", None),
        ("GET", "/info", None),
        ("POST", "/tokenize", {"inputs": "a"}),
        ("POST", "/tokenize", {"content": "a"}),
        ("POST", "/tokenize", {"prompt": "a"}),
        ("POST", "/tokenize", {}),
        ("POST", "/decode", {"ids": [11]}),
        ("POST", "/detokenize", {"tokens": [11]}),
    ],
)
async def test_a_request_that_embeds_and_ranks_nothing_is_counted_by_its_format_alone(
    make_watched: MakeWatched, method: str, path: str, body: object
) -> None:
    async with make_watched() as client:
        before = samples((await client.get("/metrics")).text)
        status = (await client.request(method, path, json=body)).status_code
        after = samples((await client.get("/metrics")).text)
        latency = (await client.get("/stats")).json()["latency"]

    changed = {name for name in after if after[name] != before.get(name, 0)}
    told = {name for name in changed if name.startswith(("embedding_", "rerank_"))}
    assert told == set()
    assert latency["count"] == 0
    assert any(name.startswith("smart_embedder_requests_total") for name in changed)
    assert status == (422 if body == {} else 200)
