"""Every request, counted, logged in one line and traced: an ASGI application around the service's.

It measures from the first byte of the request to the last of the answer, and reads who asked for
what from the `Call` that the service leaves in the scope.
"""

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, HTTPScope, Message, Receive, Scope, Send
from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode

from smart_embedder.api.call import Call, Work
from smart_embedder.scheduling.observer import Kind
from smart_embedder.telemetry.metrics import Metrics
from smart_embedder.telemetry.recent import Recent
from smart_embedder.telemetry.tracing import Tracing, inject
from smart_embedder.telemetry.watch import exemplar_of

GONE = 499
"""nginx's status for a client that left before its answer; nobody receives it."""

log = structlog.get_logger("smart_embedder.request")


@dataclass(slots=True)
class Visit:
    """One request on its way."""

    started: float = field(default_factory=time.perf_counter)
    began: int = field(default_factory=time.time_ns)
    status: int = GONE
    span: Span | None = None

    @property
    def seconds(self) -> float:
        """Since the request came."""
        return time.perf_counter() - self.started


class Watched:
    """The service's application, watched."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing, recent: Recent) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing
        self._recent = recent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and tell of it."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        visit = Visit()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                if visit.span:
                    _add_headers(message, inject(visit.span))
            await send(message)

        with self._span(scope, visit):
            try:
                await self._app(scope, receive, sending)
            finally:
                self._tell(scope, visit)

    def _span(self, scope: HTTPScope, visit: Visit) -> AbstractContextManager[object]:
        """Make the request's span current; public paths are not worth one."""
        if self._tracing.off or _is_operation(scope["path"]):
            return nullcontext()
        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        visit.span = self._tracing.begin(str(scope["method"]), headers, visit.began)
        return trace.use_span(visit.span, end_on_exit=True)

    def _tell(self, scope: HTTPScope, visit: Visit) -> None:
        call = scope.get("state", {}).get("call")
        if not isinstance(call, Call) or call.public:
            log.debug("request", path=scope["path"], status=visit.status)
            return
        route = scope.get("path_template") or scope["path"]
        kind = call.work.kind if call.work else _kind_of(route)
        self._count(call, visit, kind, route)
        if visit.span and visit.span.is_recording():
            self._trace(visit.span, visit, call, str(scope["method"]), route)
        self._log(call, visit, kind, route)

    def _count(self, call: Call, visit: Visit, kind: Kind, route: str) -> None:
        metrics, outcome = self._metrics, outcome_of(visit.status)
        exemplar = exemplar_of(self._tracing)
        if kind is Kind.RERANK:
            metrics.rerank_requests.labels(outcome).inc()
            metrics.rerank_seconds.observe(visit.seconds, exemplar)
        else:
            metrics.embedding_requests.labels(outcome, route).inc()
            metrics.embedding_seconds.labels(route).observe(visit.seconds, exemplar)
        if call.error == "rate_limited":
            rejected = (
                metrics.rerank_rejected if kind is Kind.RERANK else metrics.embedding_rejected
            )
            rejected.labels("rate").inc()
        metrics.answers.labels(call.dialect or "unknown", str(visit.status)).inc()
        if call.work:
            owner = call.token_name or "anonymous"
            for model in call.work.models:
                metrics.tokens.labels(owner, model).inc(call.work.tokens)
        self._recent.add(visit.seconds)

    def _trace(self, span: Span, visit: Visit, call: Call, method: str, route: str) -> None:
        if call.work:
            self._tracing.encoded(call.work.finished)
        span.update_name(f"{method} {route}")
        span.set_attributes(
            {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": visit.status,
                "smart_embedder.request_id": call.headers["x-request-id"],
                "smart_embedder.dialect": call.dialect,
                **({} if call.work is None else _facts(call.work)),
            }
        )
        if visit.status >= 500:
            span.set_status(Status(StatusCode.ERROR, call.error or ""))

    def _log(self, call: Call, visit: Visit, kind: Kind, route: str) -> None:
        context = visit.span.get_span_context() if visit.span else None
        line: dict[str, Any] = {
            "request_id": call.headers["x-request-id"],
            "kind": kind.value,
            "dialect": call.dialect or None,
            "route": route,
            "client": call.client,
            "status": visit.status,
            "outcome": outcome_of(visit.status),
            "error": call.error,
            "total_ms": round(visit.seconds * 1000, 3),
        }
        if context:
            line["trace_id"] = trace.format_trace_id(context.trace_id)
        if call.work:
            timings = call.work.timings
            line |= {
                "model": ",".join(call.work.models),
                "texts": call.work.texts,
                "tokens": call.work.tokens,
                "tokenize_ms": round(timings.tokenize * 1000, 3),
                "queue_ms": round(timings.queue * 1000, 3),
                "inference_ms": round(timings.inference * 1000, 3),
            }
        log.info("request", **line)


def outcome_of(status: int) -> str:
    """The word that metrics and logs use for a status."""
    if status < 400:
        return "success"
    if status == GONE:
        return "cancelled"
    if status == 504:
        return "timeout"
    return "rejected" if status in (429, 503) else "error"


def _facts(work: Work) -> dict[str, str | int]:
    return {
        "smart_embedder.model": ",".join(work.models),
        "smart_embedder.texts": work.texts,
        "smart_embedder.tokens": work.tokens,
    }


def _kind_of(route: str) -> Kind:
    """What a request that never reached the engine was for, by its path."""
    return Kind.RERANK if "rerank" in route or route.endswith("score") else Kind.EMBED


def _is_operation(path: str) -> bool:
    return path.startswith(("/health", "/metrics", "/stats", "/docs", "/redoc", "/openapi"))


def _add_headers(message: HTTPResponseStartEvent, headers: dict[str, str]) -> None:
    message["headers"] = [
        *message.get("headers", ()),
        *((name.encode(), value.encode()) for name, value in headers.items()),
    ]
