"""The application over a fake engine, with a client that speaks to it without a socket."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest

from smart_embedder.app import create_app
from smart_embedder.engine import Engine
from smart_embedder.lifecycle import Lifecycle
from smart_embedder.results import State
from smart_embedder.settings import Settings

APP = "http://localhost"
MakeEngine = Callable[..., AbstractAsyncContextManager[Engine]]
MakeClient = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def lifecycle() -> Lifecycle:
    """A process that is ready."""
    ready = Lifecycle()
    ready.become(State.READY)
    return ready


@pytest.fixture
def make_client(make_engine: MakeEngine, lifecycle: Lifecycle) -> MakeClient:
    """Make a client; keywords are settings, as in `make_client(api_token="s")`.

    `engine={...}` passes scheduling options to `make_engine`.
    """

    @asynccontextmanager
    async def make(
        *, engine: dict[str, Any] | None = None, **settings: Any
    ) -> AsyncIterator[httpx.AsyncClient]:
        async with make_engine(**(engine or {})) as running:
            app = create_app(Settings(**settings), running, lifecycle)
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=APP) as client:
                yield client

    return make


@pytest.fixture
async def client(make_client: MakeClient) -> AsyncIterator[httpx.AsyncClient]:
    """The application with default settings."""
    async with make_client() as client:
        yield client
