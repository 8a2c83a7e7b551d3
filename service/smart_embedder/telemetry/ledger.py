"""What is told of requests when they are over: counts, a line of the log, spans.

Requests are noted as they end and told together, a moment later or when somebody looks. Taken one
by one between two other requests, the same steps cost several times as much: by then the processor
has forgotten them.
"""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from opentelemetry.util.types import AttributeValue

from smart_embedder.api.call import Call
from smart_embedder.api.errors import CLIENT_GONE
from smart_embedder.scheduling.observer import Kind
from smart_embedder.telemetry.logs import Page
from smart_embedder.telemetry.metrics import Metrics
from smart_embedder.telemetry.recent import Recent
from smart_embedder.telemetry.tracing import NANOSECONDS, Trace, Tracing

SOON_SECONDS = 0.1

_STEMS = {Kind.EMBED: "embedding", Kind.RERANK: "rerank"}
"""The metrics' words."""

_REFUSALS = {"rate_limited": "rate", "overloaded": "requests", "unavailable": "unavailable"}
"""Why a request was refused before its body was read, by the code of the error."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Visit:
    """One request on its way."""

    method: str
    route: str
    started: float = field(default_factory=time.perf_counter)
    began: int = field(default_factory=time.time_ns)
    status: int = CLIENT_GONE
    trace: Trace | None = None
    """None where nothing is traced, or this is not."""
    call: Call | None = None
    """None where nothing is served, and for probes and pages."""
    seconds: float = 0.0
    """From its first byte to the last of its answer."""
    ended: float = 0.0
    """Since the epoch."""

    def end(self, call: Call | None, route: str) -> None:
        """Keep what is known when the last byte has left."""
        self.call, self.route = call, route
        self.seconds, self.ended = time.perf_counter() - self.started, time.time()

    @property
    def recorded(self) -> Trace | None:
        """Its trace, when somebody will see it."""
        return self.trace if self.trace and self.trace.recorded else None


class Ledger:
    """The requests that are over and not yet told of."""

    def __init__(
        self, metrics: Metrics, tracing: Tracing | None, recent: Recent, page: Page | None
    ) -> None:
        self._metrics = metrics
        self._tracing = tracing
        self._recent = recent
        self._page = page
        self._visits: list[Visit] = []

    def note(self, visit: Visit) -> None:
        """Keep a request that has ended, to be told of soon."""
        if not self._visits:
            asyncio.get_running_loop().call_later(SOON_SECONDS, self.settle)
        self._visits.append(visit)

    def settle(self) -> None:
        """Tell of every request that has been noted."""
        visits, self._visits = self._visits, []
        for visit in visits:
            self._tell(visit)
        if self._page:
            self._page.flush()

    def _tell(self, visit: Visit) -> None:
        if call := visit.call:
            outcome = outcome_of(visit.status)
            self._metrics.answers.inc(call.dialect or "unknown", str(visit.status))
            if call.kind:
                self._count(visit, call, call.kind, outcome)
            if self._page:
                self._page.request(_line(visit, call, outcome))
        else:
            log.debug("request", path=visit.route, status=visit.status)
        if self._tracing and visit.recorded:
            _record(self._tracing, visit.recorded, visit)

    def _count(self, visit: Visit, call: Call, kind: Kind, outcome: str) -> None:
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
        if not call.admitted and call.error in _REFUSALS:
            rejected.inc(_REFUSALS[call.error])
        if call.work:
            for model in call.work.models:
                metrics.tokens.inc(call.token_name or "anonymous", model, by=call.work.tokens)
        self._recent.add(visit.seconds)


def _line(visit: Visit, call: Call, outcome: str) -> dict[str, object]:
    """The one line of the log that a request leaves."""
    line: dict[str, object] = {
        "message": f"{_STEMS[call.kind]}_request" if call.kind else "request",
        "level": "info",
        "timestamp": datetime.fromtimestamp(visit.ended, UTC).isoformat(),
        "request_id": call.headers["x-request-id"],
        "kind": call.kind and call.kind.value,
        "dialect": call.dialect or None,
        "route": visit.route,
        "client": call.client,
        "status": visit.status,
        "outcome": outcome,
        "error": call.error,
        "total_ms": _milliseconds(visit.seconds),
    }
    if visit.trace:
        line["trace_id"] = visit.trace.id
    if work := call.work:
        line["model"] = ",".join(work.models)
        line["texts"] = work.texts
        line["tokens"] = work.tokens
        line["tokenize_ms"] = _milliseconds(work.timings.tokenize)
        line["queue_ms"] = _milliseconds(work.timings.queue)
        line["inference_ms"] = _milliseconds(work.timings.inference)
    return line


def _record(tracing: Tracing, trace: Trace, visit: Visit) -> None:
    """Make the spans of a request; one that nothing is served for has but its own."""
    call, ended = visit.call, int(visit.ended * NANOSECONDS)
    attributes: dict[str, AttributeValue] = {
        "http.request.method": visit.method,
        "http.response.status_code": visit.status,
    }
    if call:
        attributes["http.route"] = visit.route
        attributes["smart_embedder.request_id"] = call.headers["x-request-id"]
        attributes["smart_embedder.dialect"] = call.dialect
    if call and call.work:
        trace.stages.append(("encode", call.work.finished, ended))
        attributes["smart_embedder.model"] = ",".join(call.work.models)
        attributes["smart_embedder.texts"] = call.work.texts
        attributes["smart_embedder.tokens"] = call.work.tokens
    name = f"{visit.method} {visit.route}" if call else visit.method
    error = (call and call.error) or "" if visit.status >= 500 else None
    tracing.finish(trace, ended, name, attributes, error)


def outcome_of(status: int) -> str:
    """The word that metrics and logs use for a status."""
    if status < 400:
        return "success"
    if status == CLIENT_GONE:
        return "cancelled"
    if status == 504:
        return "timeout"
    return "rejected" if status in (429, 503) else "error"


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
