"""The ASGI application: every route, put together from the one table, and nothing started.

Who runs it, on which port and until when is `server`'s matter.
"""

from collections.abc import Sequence
from typing import Any

from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.handlers import HTTPRouteHandler, get, post

from smart_embedder.api.answering import Answering, refusal
from smart_embedder.api.dialect import Dialect
from smart_embedder.api.dispatch import Path
from smart_embedder.api.door import Door
from smart_embedder.api.errors import NotFound, WrongMethod
from smart_embedder.api.native import NATIVE
from smart_embedder.api.operations import Meters, Operations, Unmetered
from smart_embedder.api.routes import routes
from smart_embedder.engine import Engine
from smart_embedder.errors import EmbedderError
from smart_embedder.lifecycle import Lifecycle
from smart_embedder.settings import Settings


def create_app(
    settings: Settings,
    engine: Engine,
    lifecycle: Lifecycle,
    *,
    meters: Meters | None = None,
) -> Litestar:
    """Build the application.

    Args:
        settings: What the process was told.
        engine: Started elsewhere; until it is ready, work gets 503.
        lifecycle: The state of the process.
        meters: What /metrics and /stats tell of the process. Whoever watches the requests goes
            around the application and finds the `Call` in `scope["state"]["call"]`.
    """
    door = Door(settings, lifecycle)
    answering = Answering(settings=settings, engine=engine, lifecycle=lifecycle, door=door)
    operations = Operations(lifecycle, meters or Unmetered())
    served = routes(operations, with_metrics=settings.enable_metrics, secured=door.tokens.required)
    return Litestar(
        route_handlers=[_handler(path, answering) for path in served],
        exception_handlers={HTTPException: _Unrouted(served)},
        debug=False,  # whatever LITESTAR_DEBUG says: no trace leaves the process
        logging_config=None,
        openapi_config=None,  # ours is made from the same table as the routes
        request_max_body_size=None,  # read and refused by api.bodies, in the dialect's shape
    )


def create_metrics_app(meters: Meters) -> Litestar:
    """Build the application of the metrics port: /metrics and nothing else."""

    @get("/metrics")
    async def answer(request: Request[Any, Any, Any]) -> Response[bytes]:
        content, media_type = meters.render(request.headers.get("accept", ""))
        return Response(content, media_type=media_type)

    return Litestar(route_handlers=[answer], debug=False, logging_config=None, openapi_config=None)


def _handler(path: Path, answering: Answering) -> HTTPRouteHandler:
    async def answer(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await answering.answer(path, request)

    verb = get if path.method == "GET" else post
    handler: HTTPRouteHandler = verb(path.path, name=f"{path.method} {path.path}")(answer)
    return handler


class _Unrouted:
    """Answers what no route took: no such path, or not with this method."""

    def __init__(self, served: Sequence[Path]) -> None:
        self._dialects = {path.path: path.dialects for path in served}

    def __call__(self, request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
        """Shape the refusal for whoever calls this path."""
        path = request.scope["path"].rstrip("/")
        dialects: Sequence[Dialect] = self._dialects.get(path, (NATIVE,))
        if isinstance(error, MethodNotAllowedException):
            wrong = WrongMethod(
                f"{request.method} is not served at {path or '/'}", value=request.method
            )
            return refusal(wrong, dialects, error.headers or {})
        if isinstance(error, NotFoundException):
            return refusal(NotFound(f"nothing is served at {path or '/'}"), dialects, {})
        return refusal(EmbedderError("the request could not be answered"), dialects, {})
