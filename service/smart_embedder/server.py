"""The life of the process: listen, load, serve, drain, end.

It owns the signals, the sockets and the exit code. uvicorn parses HTTP and moves bytes; its own
signal handling is not used, because it closes the door at once and raises the signal again.
"""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Collection, Coroutine, Iterator
from enum import IntEnum
from typing import Any

import structlog
import uvicorn
from litestar.types import ASGIApp

from smart_embedder import last_words
from smart_embedder.app import create_app, create_metrics_app
from smart_embedder.connections import Retirement, TellingProtocol
from smart_embedder.engine import Engine
from smart_embedder.errors import StartupFailed
from smart_embedder.lifecycle import Lifecycle
from smart_embedder.results import State
from smart_embedder.settings import Settings
from smart_embedder.telemetry.telemetry import Telemetry

log = structlog.get_logger(__name__)

_LAST_WORDS_SECONDS = 2.0
"""For answers to leave, when time is already over."""


class Exit(IntEnum):
    """What the process tells whoever started it."""

    DONE = 0
    NOT_STARTED = 3
    CUT_SHORT = 4
    """Some admitted requests were answered 503 or not read, because their time was over."""


class PortTaken(StartupFailed):
    """The address cannot be listened on."""

    reason = "PortTaken"


def _forget_garbage() -> None:
    """Let the collector never look at what stays for good.

    torch and transformers leave 400,000 objects; a full collection walks them all in 200 ms, again
    and again, while every request waits (measured with Python 3.11).
    """
    gc.collect()
    gc.freeze()


class Signals:
    """SIGTERM and SIGINT as events: the first asks to leave, the second to leave now."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Take the signals while inside."""
        loop = asyncio.get_running_loop()
        taken = (signal.SIGTERM, signal.SIGINT)
        for number in taken:
            loop.add_signal_handler(number, self._receive)
        try:
            yield
        finally:
            for number in taken:
                loop.remove_signal_handler(number)

    def _receive(self) -> None:
        (self.hurried if self.asked.is_set() else self.asked).set()


class Process:
    """One service from its first socket to its exit code."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        lifecycle: Lifecycle,
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._lifecycle = lifecycle
        self._telemetry = telemetry
        self._signals = Signals()
        self._ends = 0.0
        """When the time to finish is over, on the loop's clock."""

    async def run(self) -> Exit:
        """Serve until a signal or a failed start."""
        try:
            listeners = self._listeners()
        except StartupFailed as error:
            report_failure(self._settings, error)
            return Exit.NOT_STARTED
        with self._signals.handled():
            async with asyncio.TaskGroup() as group:
                servers = [_Server(config) for config in self._configs()]
                serving = [
                    group.create_task(server.serve(sockets=[listener]))
                    for server, listener in zip(servers, listeners, strict=True)
                ]
                try:
                    code = await self._live()
                finally:
                    left = await self._hang_up(servers, serving)
        return Exit.CUT_SHORT if code is Exit.DONE and not left else code

    async def _live(self) -> Exit:
        starting = asyncio.create_task(self._start())
        await _until_either(starting, self._signals.asked)
        if not starting.done():
            starting.cancel()
            return await self._leave()
        if not starting.result():
            return Exit.NOT_STARTED
        await self._signals.asked.wait()
        return await self._leave()

    async def _start(self) -> bool:
        told = self._settings.model_dump(mode="json", include=self._settings.model_fields_set)
        log.info("runtime_config", **told)
        try:
            await self._engine.start()
        except Exception as error:  # noqa: BLE001 - whatever it is, the process says so and ends
            failure = _as_failure(error)
            self._lifecycle.fail(failure.message)
            report_failure(self._settings, failure)
            return False
        _forget_garbage()
        self._lifecycle.become(State.READY)
        names = [card.name for card in self._engine.models]
        if self._settings.enable_warmup:
            log.info("warmup_ok", models=names)
        if reranker := self._engine.options.reranker:
            log.info("Reranker ready.", model=reranker.name)
        log.info("Server ready to accept requests", models=names)
        return True

    async def _leave(self) -> Exit:
        """Drain: say so, serve the delay, finish what is admitted, fail what is left."""
        lifecycle, settings = self._lifecycle, self._settings
        lifecycle.become(State.DRAINING)
        log.info("draining", delay=settings.drain_delay, budget=settings.drain_seconds)
        await self._unless_hurried(asyncio.sleep(settings.drain_delay), settings.drain_delay + 1)
        lifecycle.closing = True
        self._ends = asyncio.get_running_loop().time() + settings.drain_seconds
        finished = await self._unless_hurried(lifecycle.idle(), settings.drain_seconds)
        await self._engine.stop(drain_seconds=0)
        if not finished:
            log.warning("drain_cut_short", unanswered=lifecycle.working)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(lifecycle.idle(), _LAST_WORDS_SECONDS)
            lifecycle.abandon()
        lifecycle.become(State.STOPPED)
        log.info("stopped")
        return Exit.DONE if finished else Exit.CUT_SHORT

    async def _hang_up(
        self, servers: Collection["_Server"], serving: Collection["asyncio.Task[None]"]
    ) -> bool:
        """Let the answers leave, and say whether all did; who does not read them holds nobody."""
        for server in servers:
            server.should_exit = True
        hurried, now = self._signals.hurried, asyncio.get_running_loop().time()
        left = 0.0 if hurried.is_set() else self._ends - now
        hurried.clear()
        all_left = await self._unless_hurried(asyncio.wait(serving), max(left, _LAST_WORDS_SECONDS))
        for server in servers:
            server.force_exit = True
        return all_left

    async def _unless_hurried(self, wait: Coroutine[Any, Any, object], seconds: float) -> bool:
        """Wait; True when it came to its end before the time was over or a second signal came."""
        task = asyncio.create_task(wait)
        await _until_either(task, self._signals.hurried, seconds)
        if task.done():
            return True
        task.cancel()
        return False

    def _configs(self) -> list[uvicorn.Config]:
        telemetry = self._telemetry
        app = create_app(self._settings, self._engine, self._lifecycle, meters=telemetry)
        watched = telemetry.around(app)
        retiring = Retirement(
            watched,
            self._lifecycle,
            max_age=self._settings.connection_max_age,
            max_requests=self._settings.connection_max_requests,
            max_connections=self._settings.uvicorn_max_connections,
        )
        configs = [_config(retiring, self._settings)]
        if self._has_metrics_port:
            configs.append(_config(create_metrics_app(telemetry), self._settings))
        return configs

    def _listeners(self) -> list[socket.socket]:
        host = self._settings.host
        listeners = [bound(host, self._settings.port, "PORT")]
        if self._has_metrics_port:
            listeners.append(bound(host, self._settings.metrics_port, "METRICS_PORT"))
        return listeners

    @property
    def _has_metrics_port(self) -> bool:
        return self._settings.enable_metrics and self._settings.metrics_port != 0


class _Server(uvicorn.Server):
    """uvicorn without its signal handling."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `Signals`."""
        yield


def bound(host: str, port: int, variable: str) -> socket.socket:
    """Bind a socket; `::` takes both address families."""
    is_v6 = ":" in host
    listener = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_v6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTaken(
            f"cannot listen on {host} port {port} ({variable}): {error.strerror}", field=variable
        ) from error
    return listener


def report_failure(settings: Settings, error: StartupFailed) -> None:
    """Tell the log, and the file where Kubernetes looks for a container's last words."""
    log.error("start_failed", reason=error.reason, message=error.message)
    asked_for = "termination_log" in settings.model_fields_set
    last_words.leave(error, settings.termination_log, asked_for=asked_for)


def _as_failure(error: Exception) -> StartupFailed:
    """Take a failure of ours as it is, and any other with its trace in the log."""
    if isinstance(error, StartupFailed):
        return error
    log.error("unexpected_error", exc_info=error)  # no text of a user was read yet
    return StartupFailed(f"{type(error).__name__}: {error}")


async def _until_either(
    task: "asyncio.Task[Any]", event: asyncio.Event, seconds: float | None = None
) -> None:
    """Wait for the task or the event, whichever comes first."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, waiting}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def _config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=TellingProtocol,
        loop="none",  # the loop is running already
        ws="none",
        lifespan="off",  # the engine starts after the socket listens, not before
        interface="asgi3",
        backlog=settings.uvicorn_backlog,
        timeout_keep_alive=settings.uvicorn_timeout_keep_alive,
        server_header=False,
        access_log=False,
        log_config=None,
        proxy_headers=False,  # security.proxies reads them
    )
