"""The plain HTTP ports: `/healthz` and `/readyz` for the kubelet, `/metrics` for Prometheus.

What alive and ready mean is asked of whoever knows; a reason means no.
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

Check = Callable[[], str | None]
"""Why not, or None when all is well."""

_PROMETHEUS = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}


async def serve_probes(host: str, port: int, *, alive: Check, ready: Check) -> None:
    """Answer the kubelet until cancelled."""
    await _serve(host, port, {"/healthz": _probe(alive), "/readyz": _probe(ready)})


async def serve_metrics(host: str, port: int, page: Callable[[], bytes]) -> None:
    """Answer Prometheus until cancelled."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=page(), headers=_PROMETHEUS)

    await _serve(host, port, {"/metrics": metrics})


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _probe(check: Check) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        why_not = check()
        return web.Response(text=why_not or "ok", status=503 if why_not else 200)

    return handler


async def _serve(host: str, port: int, routes: dict[str, Handler]) -> None:
    app = web.Application()
    for path, handler in routes.items():
        app.router.add_get(path, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
