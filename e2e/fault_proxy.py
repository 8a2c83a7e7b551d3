"""A way to the API server that fails when told: refusals, cut watches, watches that fall silent.

Speaks plain HTTP on loopback and passes everything on with a kubeconfig's own identity. Runs in a
thread, so that cases can be written as what happens next.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from e2e.loopback import free_ports
from smart_embedder_operator.credentials import Credentials, from_kubeconfig

_HOP_BY_HOP = frozenset(
    {"connection", "transfer-encoding", "host", "content-length", "authorization"}
)


class FaultProxy:
    """Between one client and the API server."""

    def __init__(self, credentials: Credentials, folder: Path) -> None:
        """Starts at once; `folder` gets the kubeconfig that leads here."""
        self._credentials = credentials
        (self._port,) = free_ports(1)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._streams: set[asyncio.Transport] = set()
        self._refusals: list[int] = []
        self._every = 0
        self._count = 0
        self._silent = False
        self.refused = 0
        self.watches = 0
        self.kubeconfig = self._kubeconfig(folder / "proxy.kubeconfig")
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait(10)

    def refuse(self, codes: list[int], *, every: int) -> None:
        """Answer every so-many-th request with one of these, in turn; an empty list: none."""
        self._refusals, self._every = codes, every

    def cut_watches(self) -> None:
        """End every watch in the middle, as a broken network does."""
        self._loop.call_soon_threadsafe(self._cut)

    def silence_watches(self, *, silent: bool) -> None:
        """Keep every watch open and pass nothing on: the fault that shows nowhere."""
        self._silent = silent

    def close(self) -> None:
        """Stop."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _cut(self) -> None:
        for transport in self._streams:
            transport.abort()

    def _run(self, started: threading.Event) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve(started))
        finally:
            started.set()

    async def _serve(self, started: threading.Event) -> None:
        context = self._credentials.ssl_context()
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(
            self._credentials.server, connector=connector, timeout=timeout, auto_decompress=False
        ) as session:
            app = web.Application(client_max_size=1 << 24)

            async def handler(request: web.Request) -> web.StreamResponse:
                return self._refusal(request) or await self._forward(session, request)

            app.router.add_route("*", "/{path:.*}", handler)
            runner = web.AppRunner(
                app, access_log=None, handler_cancellation=True, shutdown_timeout=1
            )
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self._port).start()
            started.set()
            await self._stop.wait()
            await runner.cleanup()

    def _refusal(self, request: web.Request) -> web.Response | None:
        self._count += 1
        # Leases pass: what is tested is the work, and an election has tests of its own.
        if not self._refusals or self._count % self._every or "/leases" in request.path:
            return None
        code = self._refusals[self._count // self._every % len(self._refusals)]
        if code == 409 and request.method == "GET":
            return None  # no API server says so to a read
        self.refused += 1
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
        return web.json_response(
            body | {"message": "injected"}, status=code, headers={"Retry-After": "1"}
        )

    async def _forward(
        self, session: aiohttp.ClientSession, request: web.Request
    ) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
        body = await request.read()
        async with session.request(
            request.method, request.rel_url, data=body or None, headers=headers
        ) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            if request.query.get("watch"):
                await self._stream(request, answer, response)
            else:
                await response.write(await answer.read())
            await response.write_eof()
            return response

    async def _stream(
        self, request: web.Request, answer: aiohttp.ClientResponse, response: web.StreamResponse
    ) -> None:
        transport = request.transport
        if transport is None:
            return
        self._streams.add(transport)
        self.watches += 1
        try:
            async for chunk in answer.content.iter_any():
                if not self._silent:
                    await response.write(chunk)
        finally:
            self._streams.discard(transport)

    def _kubeconfig(self, path: Path) -> Path:
        cluster = {"server": f"http://127.0.0.1:{self._port}"}
        config: dict[str, Any] = {
            "current-context": "proxy",
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
            "clusters": [{"name": "proxy", "cluster": cluster}],
            "users": [{"name": "proxy", "user": {}}],
        }
        path.write_text(json.dumps(config))
        return path


@contextlib.contextmanager
def fault_proxy(kubeconfig: Path, folder: Path) -> Iterator[FaultProxy]:
    """A running proxy in front of a kubeconfig's API server."""
    proxy = FaultProxy(from_kubeconfig(kubeconfig), folder)
    try:
        yield proxy
    finally:
        proxy.close()
