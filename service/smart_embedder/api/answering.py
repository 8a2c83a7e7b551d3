"""The one way of every request: door, body, dialect, engine, bytes.

A dialect never sees a raw request and never shapes an error; this file does both for all of them.
It refuses to know what any dialect's fields mean.
"""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from litestar import Request, Response
from litestar.types import Receive

from smart_embedder.api.bodies import decode, read_body
from smart_embedder.api.call import Call
from smart_embedder.api.compression import compressed
from smart_embedder.api.dialect import JSON, Dialect, Reply
from smart_embedder.api.dispatch import Path
from smart_embedder.api.door import Door, deadline_of, lane_of
from smart_embedder.api.encoding import to_bytes
from smart_embedder.api.errors import error_body, error_headers, problem, status_of
from smart_embedder.engine import Engine
from smart_embedder.errors import Cancelled, DeadlineExceeded, EmbedderError, Unavailable
from smart_embedder.lifecycle import Lifecycle
from smart_embedder.settings import Settings

_REQUEST_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """What an answer is made with."""

    settings: Settings
    engine: Engine
    lifecycle: Lifecycle
    door: Door

    async def answer(self, path: Path, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Answer one request, whatever happens."""
        call = Call(
            engine=self.engine,
            settings=self.settings,
            public=path.public,
            kind=path.kind,
            accept=request.headers.get("accept", ""),
            path=request.scope["raw_path"].decode("latin-1"),
            params=request.path_params,
            headers={"x-request-id": _request_id(request)},
            deadline=time.monotonic() + self.settings.request_timeout,
        )
        request.scope["state"]["call"] = call  # for whoever counts, logs or traces around us
        with self.lifecycle.at_work():
            try:
                return await self._answer(path, request, call)
            except asyncio.CancelledError:
                if not self.lifecycle.abandoned:
                    raise
                return _refuse(Unavailable("the service has stopped"), path.dialects, call)

    async def _answer(
        self, path: Path, request: Request[Any, Any, Any], call: Call
    ) -> Response[bytes]:
        dialects: Sequence[Dialect] = path.dialects
        try:
            if not path.public:
                call.client = self.door.admit(request)
                call.admitted = True
                call.token_name = call.client if self.door.tokens.required else None
            call.deadline = deadline_of(request, self.settings.request_timeout)
            call.lane = lane_of(request)
            async with _until(call.deadline):
                raw = b""
                if path.method == "POST":
                    raw = await read_body(request, self.settings.max_body_bytes)
                endpoint = path.choose(raw)
                dialects = (endpoint.dialect,)
                call.dialect, call.kind = endpoint.dialect.name, endpoint.kind
                body = decode(raw, endpoint.body) if endpoint.body else None
                async with _while_connected(request.receive):
                    answer = await endpoint.handle(body, call)
            return self._respond(answer, call, request.headers.get("accept-encoding", ""))
        except EmbedderError as error:
            return _refuse(error, dialects, call)
        except Exception as error:  # noqa: BLE001 - the last line: told to the log, never to the caller
            return _refuse(_unexpected(error, call), dialects, call)

    def _respond(self, answer: object, call: Call, accepted: str) -> Response[bytes]:
        reply = answer if isinstance(answer, Reply) else Reply(content=answer)
        headers = {**call.headers, **reply.headers}
        content = to_bytes(reply.content)
        if self.settings.compress_responses:
            content, coding = compressed(content, accepted)
            headers |= coding
        return Response(
            content, status_code=reply.status, media_type=reply.media_type, headers=headers
        )


def refusal(
    error: EmbedderError, dialects: Sequence[Dialect], headers: Mapping[str, str]
) -> Response[bytes]:
    """Answer an error in the shape that the callers of these dialects read."""
    status = status_of(error, dialects)
    content = error_body(problem(error, status), dialects)
    everything = {**headers, **error_headers(error)}
    return Response(to_bytes(content), status_code=status, media_type=JSON, headers=everything)


def _refuse(error: EmbedderError, dialects: Sequence[Dialect], call: Call) -> Response[bytes]:
    call.error = error.code
    return refusal(error, dialects, call.headers)


@asynccontextmanager
async def _until(deadline: float) -> AsyncIterator[None]:
    """Give the caller `DeadlineExceeded` when the request's time is over."""
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            yield
    except TimeoutError:
        raise DeadlineExceeded("the request took longer than it was given") from None


@asynccontextmanager
async def _while_connected(receive: Receive) -> AsyncIterator[None]:
    """Cancel what is inside when the client goes away, so that it leaves the queue."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine always runs in a task
    watcher = asyncio.create_task(_cancel_when_gone(receive, task))
    try:
        yield
    except asyncio.CancelledError:
        if watcher.done() and not watcher.cancelled():
            task.uncancel()
            raise Cancelled("the client has gone") from None
        raise
    finally:
        watcher.cancel()


async def _cancel_when_gone(receive: Receive, task: asyncio.Task[object]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()


def _request_id(request: Request[Any, Any, Any]) -> str:
    """Take the caller's id when it is fit for a header and a log, else make one."""
    given = request.headers.get("x-request-id", "")
    if _REQUEST_ID.fullmatch(given):
        return given
    return f"{random.getrandbits(64):016x}"


def _unexpected(error: Exception, call: Call) -> EmbedderError:
    """Log where a bug is, without its message, which might hold a text."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}")
        trace = trace.tb_next
    log.error(
        "unexpected_error",
        kind=type(error).__name__,
        frames=frames[-5:],
        request_id=call.headers["x-request-id"],
    )
    return EmbedderError(f"an unexpected {type(error).__name__}; the server's log says where")
