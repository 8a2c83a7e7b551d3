"""Every request, counted, logged in one line and traced: an ASGI application around the service's.

It measures from the first byte of the request to the last of the answer, and reads who asked for
what from the `Call` that the service leaves in the scope.
"""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from opentelemetry.util.types import AttributeValue

from smart_embedder.api.call import Call
from smart_embedder.scheduling.observer import Kind
from smart_embedder.telemetry.logs import REQUESTS
from smart_embedder.telemetry.metrics import Metrics
from smart_embedder.telemetry.recent import Recent
from smart_embedder.telemetry.tracing import Trace, Tracing, recording

GONE = 499
"""nginx's status for a client that left before its answer; nobody receives it."""
_OPERATIONS = ("/health", "/metrics", "/stats", "/docs", "/redoc", "/openapi")


@dataclass(slots=True)
class Visit:
    """One request on its way."""

    method: str
    route: str
    started: float = field(default_factory=time.perf_counter)
    began: int = field(default_factory=time.time_ns)
    status: int = GONE
    trace: Trace | None = None
    """None where nothing is traced."""
    seconds: float = 0.0
    """From its first byte to the last of its answer."""

    @property
    def recorded(self) -> Trace | None:
        """Its trace, when somebody will see it."""
        return self.trace if self.trace and self.trace.recorded else None


class Watched:
    """The service's application, watched."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None, recent: Recent
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing
        self._recent = recent
        # Bound here, once: a logger that is not is put together again at every line.
        self._log = structlog.get_logger(REQUESTS).bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and tell of it."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        visit = Visit(scope["method"], scope["path"])

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                if visit.trace:
                    message["headers"] = [*message["headers"], *visit.trace.headers()]
            await send(message)

        with self._traced(scope, visit):
            try:
                await self._app(scope, receive, sending)
            finally:
                self._tell(scope, visit)

    def _traced(self, scope: HTTPScope, visit: Visit) -> AbstractContextManager[None]:
        """Decide whether the request is recorded; public paths are not worth a span."""
        if self._tracing is None or scope["path"].startswith(_OPERATIONS):
            return nullcontext()
        visit.trace = self._tracing.begin(visit.method, scope["headers"], visit.began)
        return recording(visit.trace) if visit.recorded else nullcontext()

    def _tell(self, scope: HTTPScope, visit: Visit) -> None:
        visit.seconds = time.perf_counter() - visit.started
        call = scope.get("state", {}).get("call")
        if isinstance(call, Call) and not call.public:
            visit.route = scope.get("path_template") or visit.route
            kind = call.work.kind if call.work else _kind_of(visit.route)
            outcome = outcome_of(visit.status)
            self._count(call, visit, kind, outcome)
            self._write(call, visit, kind, outcome)
        else:
            call = None
            self._log.debug("request", path=visit.route, status=visit.status)
        if self._tracing and visit.recorded:
            _record(self._tracing, visit.recorded, visit, call)

    def _count(self, call: Call, visit: Visit, kind: Kind, outcome: str) -> None:
        metrics = self._metrics
        trace = visit.recorded.id if visit.recorded else None
        if kind is Kind.RERANK:
            rejected = metrics.rerank_rejected
            metrics.rerank_requests.inc(outcome)
            metrics.rerank_seconds.observe(visit.seconds, trace=trace)
        else:
            rejected = metrics.embedding_rejected
            metrics.embedding_requests.inc(outcome, visit.route)
            metrics.embedding_seconds.observe(visit.seconds, visit.route, trace=trace)
        if call.error == "rate_limited":
            rejected.inc("rate")
        metrics.answers.inc(call.dialect or "unknown", str(visit.status))
        if call.work:
            for model in call.work.models:
                metrics.tokens.inc(call.token_name or "anonymous", model, by=call.work.tokens)
        self._recent.add(visit.seconds)

    def _write(self, call: Call, visit: Visit, kind: Kind, outcome: str) -> None:
        """Write the one line of this request."""
        self._log.info(
            "request",
            request_id=call.headers["x-request-id"],
            kind=kind.value,
            dialect=call.dialect or None,
            route=visit.route,
            client=call.client,
            status=visit.status,
            outcome=outcome,
            error=call.error,
            total_ms=_milliseconds(visit.seconds),
            **_work(call),
            **({"trace_id": visit.trace.id} if visit.trace else {}),
        )


def _record(tracing: Tracing, trace: Trace, visit: Visit, call: Call | None) -> None:
    """Make the spans of a request; one that nothing is served for has but its own."""
    attributes: dict[str, AttributeValue] = {
        "http.request.method": visit.method,
        "http.response.status_code": visit.status,
    }
    if call:
        attributes["http.route"] = visit.route
        attributes["smart_embedder.request_id"] = call.headers["x-request-id"]
        attributes["smart_embedder.dialect"] = call.dialect
    if call and call.work:
        trace.encoded(call.work.finished)
        attributes["smart_embedder.model"] = ",".join(call.work.models)
        attributes["smart_embedder.texts"] = call.work.texts
        attributes["smart_embedder.tokens"] = call.work.tokens
    name = f"{visit.method} {visit.route}" if call else visit.method
    error = (call and call.error) or "" if visit.status >= 500 else None
    tracing.finish(trace, name, attributes, error)


def outcome_of(status: int) -> str:
    """The word that metrics and logs use for a status."""
    if status < 400:
        return "success"
    if status == GONE:
        return "cancelled"
    if status == 504:
        return "timeout"
    return "rejected" if status in (429, 503) else "error"


def _work(call: Call) -> Mapping[str, str | int | float]:
    """What the engine did for a request, for its line."""
    if call.work is None:
        return {}
    timings = call.work.timings
    return {
        "model": ",".join(call.work.models),
        "texts": call.work.texts,
        "tokens": call.work.tokens,
        "tokenize_ms": _milliseconds(timings.tokenize),
        "queue_ms": _milliseconds(timings.queue),
        "inference_ms": _milliseconds(timings.inference),
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _kind_of(route: str) -> Kind:
    """What a request that never reached the engine was for, by its path."""
    return Kind.RERANK if "rerank" in route or route.endswith("score") else Kind.EMBED
