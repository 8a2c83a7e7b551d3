"""One line a request, and nothing in it that nobody may read."""

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

import httpx
import pytest
import structlog

from smart_embedder.settings import Settings
from smart_embedder.telemetry.ledger import SOON_SECONDS
from smart_embedder.telemetry.logs import set_up_logs

pytestmark = pytest.mark.anyio

MakeWatched = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
SECRET_TEXT = "the unspoken sentence"


class Written:
    """What is logged while a test runs."""

    def __init__(self) -> None:
        self.stream = io.BytesIO()
        self.page = set_up_logs(Settings(json_output=True), self.stream)

    @property
    def bytes(self) -> bytes:
        """Everything, as it stands in the log when the process ends."""
        self.page.flush()
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, object]]:
        """Every line as JSON."""
        return [json.loads(line) for line in self.bytes.splitlines()]


@pytest.fixture
def written() -> Iterator[Written]:
    """Keep what is logged while a test runs."""
    root = logging.getLogger()
    before, level = root.handlers, root.level
    yield Written()
    root.handlers, root.level = before, level
    structlog.reset_defaults()


async def test_a_request_leaves_one_line_that_says_what_it_was(
    make_watched: MakeWatched, written: Written
) -> None:
    async with make_watched(page=written.page) as client:
        await client.post(
            "/embeddings/",
            json={"sentences": [SECRET_TEXT, "b"]},
            headers={"X-Request-Id": "order-66"},
        )

    [line] = [line for line in written.lines if line["message"] == "embedding_request"]
    assert line["request_id"] == "order-66"
    assert (line["dialect"], line["texts"], line["status"]) == ("native", 2, 200)
    assert {"tokens", "tokenize_ms", "queue_ms", "inference_ms", "total_ms", "model"} <= line.keys()


async def test_no_text_and_no_token_is_ever_logged(
    make_watched: MakeWatched, written: Written
) -> None:
    async with make_watched(page=written.page, api_token="hush-hush", log_level="DEBUG") as client:
        for body in ({"sentences": [SECRET_TEXT]}, {"sentences": SECRET_TEXT}, [SECRET_TEXT]):
            for token in ("hush-hush", "wrong-guess"):
                headers = {"Authorization": f"Bearer {token}"}
                await client.post("/embeddings/", json=body, headers=headers)

    page = written.bytes.decode()
    assert page
    assert SECRET_TEXT not in page
    assert "hush-hush" not in page
    assert "wrong-guess" not in page


async def test_probes_leave_no_line(make_watched: MakeWatched, written: Written) -> None:
    async with make_watched(page=written.page) as client:
        await client.get("/health")
        await client.get("/metrics")
        await client.post("/rerank", json={"query": "q", "passages": ["p"]})

    requests = [line["message"] for line in written.lines if "_request" in line["message"]]
    assert requests == ["rerank_request"]


async def test_a_line_names_no_kind_where_nothing_is_embedded_or_ranked(
    make_watched: MakeWatched, written: Written
) -> None:
    async with make_watched(page=written.page) as client:
        await client.get("/v1/models")

    [line] = written.lines
    assert (line["message"], line["kind"], line["dialect"]) == ("request", None, "OpenAI")


def test_the_loggers_of_libraries_go_the_same_way(written: Written) -> None:
    logging.getLogger("uvicorn.error").warning("port %d", 8000)
    logging.getLogger("httpx").info("chatter")

    [line] = written.lines
    assert (line["message"], line["level"], line["logger"]) == (
        "port 8000",
        "warning",
        "uvicorn.error",
    )


async def test_a_line_is_written_soon_though_no_other_follows(
    make_watched: MakeWatched, written: Written
) -> None:
    async with make_watched(page=written.page) as client:
        await client.post("/embeddings/", json={"sentences": ["a"]})
        gathered = written.stream.getvalue()
        await asyncio.sleep(SOON_SECONDS * 2)

    assert b"/embeddings" not in gathered
    assert b"/embeddings" in written.stream.getvalue()


async def test_a_line_bears_the_time_at_which_its_request_ended(
    make_watched: MakeWatched, written: Written
) -> None:
    async with make_watched(page=written.page) as client:
        await client.post("/embeddings/", json={"sentences": ["a"]})
        ended = datetime.now(UTC)
        await asyncio.sleep(SOON_SECONDS * 2)

    [line] = written.lines
    assert datetime.fromisoformat(str(line["timestamp"])) <= ended
