"""One line a request, and nothing in it that nobody may read."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
import structlog

from smart_embedder.settings import Settings
from smart_embedder.telemetry.logs import set_up_logs

pytestmark = pytest.mark.anyio

MakeWatched = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
SECRET_TEXT = "the unspoken sentence"


@pytest.fixture
def written() -> Iterator[io.BytesIO]:
    """What is logged while a test runs, as JSON lines."""
    root = logging.getLogger()
    before, level = root.handlers, root.level
    page = io.BytesIO()
    set_up_logs(Settings(json_output=True), page)
    yield page
    root.handlers, root.level = before, level
    structlog.reset_defaults()


def lines(page: io.BytesIO) -> list[dict[str, object]]:
    """Every line as JSON."""
    return [json.loads(line) for line in page.getvalue().splitlines()]


async def test_a_request_leaves_one_line_that_says_what_it_was(
    make_watched: MakeWatched, written: io.BytesIO
) -> None:
    async with make_watched() as client:
        await client.post(
            "/embeddings/",
            json={"sentences": [SECRET_TEXT, "b"]},
            headers={"X-Request-Id": "order-66"},
        )

    [line] = [line for line in lines(written) if line["message"] == "request"]
    assert line["request_id"] == "order-66"
    assert (line["dialect"], line["texts"], line["status"]) == ("native", 2, 200)
    assert {"tokens", "tokenize_ms", "queue_ms", "inference_ms", "total_ms", "model"} <= line.keys()


async def test_no_text_and_no_token_is_ever_logged(
    make_watched: MakeWatched, written: io.BytesIO
) -> None:
    async with make_watched(api_token="hush-hush", log_level="DEBUG") as client:
        for body in ({"sentences": [SECRET_TEXT]}, {"sentences": SECRET_TEXT}, [SECRET_TEXT]):
            for token in ("hush-hush", "wrong-guess"):
                headers = {"Authorization": f"Bearer {token}"}
                await client.post("/embeddings/", json=body, headers=headers)

    page = written.getvalue().decode()
    assert page
    assert SECRET_TEXT not in page
    assert "hush-hush" not in page
    assert "wrong-guess" not in page


async def test_probes_leave_no_line(make_watched: MakeWatched, written: io.BytesIO) -> None:
    async with make_watched() as client:
        await client.get("/health")
        await client.get("/metrics")

    assert [line for line in lines(written) if line["message"] == "request"] == []


def test_the_loggers_of_libraries_go_the_same_way(written: io.BytesIO) -> None:
    logging.getLogger("uvicorn.error").warning("port %d", 8000)
    logging.getLogger("httpx").info("chatter")

    [line] = lines(written)
    assert (line["message"], line["level"], line["logger"]) == (
        "port 8000",
        "warning",
        "uvicorn.error",
    )
