"""A watched application over a fake engine."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest

from smart_embedder.app import create_app
from smart_embedder.engine import Engine
from smart_embedder.lifecycle import Lifecycle
from smart_embedder.results import State
from smart_embedder.settings import Settings
from smart_embedder.telemetry.logs import Page
from smart_embedder.telemetry.telemetry import Telemetry
from smart_embedder.telemetry.tracing import Tracing

APP = "http://localhost"
MakeEngine = Callable[..., AbstractAsyncContextManager[Engine]]
MakeWatched = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def make_watched(make_engine: MakeEngine) -> MakeWatched:
    """Make a client of a watched application; further keywords are settings."""

    @asynccontextmanager
    async def make(
        tracing: Tracing | None = None,
        page: Page | None = None,
        lifecycle: Lifecycle | None = None,
        scheduling: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> AsyncIterator[httpx.AsyncClient]:
        lifecycle = lifecycle or Lifecycle()
        read = Settings(**settings)
        telemetry = Telemetry(read, lifecycle, tracing, page)
        async with make_engine(observer=telemetry.observer, **(scheduling or {})) as engine:
            telemetry.follow(engine)
            lifecycle.become(State.READY)
            app = create_app(read, engine, lifecycle, meters=telemetry)
            watched: Any = telemetry.around(app)
            transport = httpx.ASGITransport(watched, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=APP) as client:
                yield client
            telemetry.close()

    return make
