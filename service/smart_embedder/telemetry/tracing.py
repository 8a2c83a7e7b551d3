"""Spans over OTLP: one for each request with its stages, one for each batch, linked.

Whether a request is recorded is decided when it comes; what it went through is measured anyway and
becomes spans when its answer has left. A request that is not recorded costs its decision alone, and
without an endpoint nothing here is built. Texts never become attributes.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    format_span_id,
    format_trace_id,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from smart_embedder.scheduling.observer import Answered, BatchFacts, Outcome
from smart_embedder.settings import Settings
from smart_embedder.telemetry.exporting import exporter

NANOSECONDS = 1e9
Headers = Iterable[tuple[bytes, bytes]]
Attributes = Mapping[str, AttributeValue]

_W3C = TraceContextTextMapPropagator()
_W3C_HEADERS = frozenset(name.encode() for name in _W3C.fields)
_NOWHERE = Context()
_SCOPE = InstrumentationScope("smart_embedder")
_SAMPLED, _DROPPED = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)


class Trace:
    """Where a request stands in a trace, and what it leaves behind when it is recorded."""

    __slots__ = ("began", "context", "id", "parent", "recorded", "stages")

    def __init__(self, context: SpanContext, parent: SpanContext | None, began: int) -> None:
        self.context = context
        self.recorded = bool(context.trace_flags.sampled)
        self.id = format_trace_id(context.trace_id)
        """As logs and exemplars name it."""
        self.parent = parent
        self.began = began
        self.stages: list[tuple[str, int, int]] = []
        """Each stage's name, beginning and end, in nanoseconds since the epoch."""

    def answered(self, answered: Answered) -> None:
        """Keep the stages of work that has ended this moment."""
        spent = answered.tokenize + answered.queue + answered.inference
        begins = time.time_ns() - int(spent * NANOSECONDS)
        self.stages.append(("admit", self.began, begins))
        for name, seconds in (
            ("tokenize", answered.tokenize),
            ("queue", answered.queue),
            ("inference", answered.inference),
        ):
            ends = begins + int(seconds * NANOSECONDS)
            self.stages.append((name, begins, ends))
            begins = ends

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Write the headers by which others continue it."""
        context = self.context
        ids = f"{self.id}-{format_span_id(context.span_id)}"
        headers = [(b"traceparent", f"00-{ids}-{context.trace_flags:02x}".encode())]
        if context.trace_state:
            headers.append((b"tracestate", context.trace_state.to_header().encode()))
        return headers


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def current() -> Trace | None:
    """Return the trace of the calling request, when it is recorded."""
    return _current.get()


@contextmanager
def recording(trace: Trace) -> Iterator[None]:
    """Make a trace the current one inside."""
    token = _current.set(trace)
    try:
        yield
    finally:
        _current.reset(token)


class Tracing:
    """Decides what is recorded and makes its spans.

    The SDK brings the sampler, the ids, the batching and the exporter, as the OTEL_* variables say.
    Its live spans are passed by: an eighth of the price is what a span costs that is made in one
    piece from what is known already.
    """

    def __init__(self, provider: TracerProvider, to: SpanExporter) -> None:
        self._sampler = provider.sampler
        self._ids = provider.id_generator
        self._resource = _KnownResource(provider.resource)
        self._processor = BatchSpanProcessor(to)

    def begin(self, method: str, headers: Headers, began: int) -> Trace | None:
        """Decide about a request, in its caller's trace when it sent one.

        Returns:
            None when the request is not recorded and nobody has begun a trace either.
        """
        context = _caller(headers)
        parent = get_current_span(context).get_span_context() if context else None
        known = parent if parent and parent.is_valid else None
        trace_id = known.trace_id if known else self._ids.generate_trace_id()
        decision = self._sampler.should_sample(context, trace_id, method, SpanKind.SERVER)
        recorded = decision.decision is Decision.RECORD_AND_SAMPLE
        if not recorded and known is None:
            return None
        own = SpanContext(
            trace_id,
            self._ids.generate_span_id(),
            is_remote=False,
            trace_flags=_SAMPLED if recorded else _DROPPED,
            trace_state=decision.trace_state,
        )
        return Trace(own, known, began)

    def finish(
        self, trace: Trace, ended: int, name: str, attributes: Attributes, error: str | None
    ) -> None:
        """Make a request's spans; `error` says what went wrong on our side."""
        for stage, begins, ends in trace.stages:
            self._make(stage, self._beside(trace.context), trace.context, begins, ends)
        self._make(
            name,
            trace.context,
            trace.parent,
            trace.began,
            ended,
            kind=SpanKind.SERVER,
            attributes=attributes,
            status=Status() if error is None else Status(StatusCode.ERROR, error),
        )

    def batch(self, batch: BatchFacts, seconds: float, outcome: Outcome) -> None:
        """Report a pass that served recorded requests, linked to them; a trace of its own."""
        served = {each.span_id: each for each in batch.traces if isinstance(each, SpanContext)}
        if not served:
            return
        now = time.time_ns()
        self._make(
            f"batch {batch.kind}",
            SpanContext(
                self._ids.generate_trace_id(), self._ids.generate_span_id(), False, _SAMPLED
            ),
            None,
            now - int(seconds * NANOSECONDS),
            now,
            links=[Link(context) for context in served.values()],
            attributes={
                "smart_embedder.device": batch.device,
                "smart_embedder.model": batch.model,
                "smart_embedder.texts": batch.texts,
                "smart_embedder.tokens": batch.tokens,
                "smart_embedder.fill_ratio": batch.fill,
            },
            status=Status() if outcome == "success" else Status(StatusCode.ERROR, outcome),
        )

    def flush(self) -> None:
        """Send what has been gathered."""
        self._processor.force_flush()

    def close(self) -> None:
        """Send what is left."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # the library's

    def _beside(self, context: SpanContext) -> SpanContext:
        """Another span of the same trace."""
        return SpanContext(
            context.trace_id,
            self._ids.generate_span_id(),
            is_remote=False,
            trace_flags=context.trace_flags,
            trace_state=context.trace_state,
        )

    def _make(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        begins: int,
        ends: int,
        **facts: Any,
    ) -> None:
        self._processor.on_end(
            ReadableSpan(
                name,
                context,
                parent,
                self._resource,
                start_time=begins,
                end_time=max(begins, ends),
                instrumentation_scope=_SCOPE,
                **facts,
            )
        )


class _KnownResource(Resource):
    """A resource that computes its hash once: the exporter asks every span for it."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


def set_up_tracing(settings: Settings, environ: Mapping[str, str] = os.environ) -> Tracing | None:
    """Build the tracing that the settings and the standard OTEL_* variables ask for, if any."""
    named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    wanted = settings.otlp_endpoint or any(environ.get(name) for name in named)
    if not wanted or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    name = environ.get("OTEL_SERVICE_NAME", settings.otlp_service_name)
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    return Tracing(provider, exporter(settings, environ))


def _caller(headers: Headers) -> Context:
    """The context that the caller sent along, empty when it sent none."""
    sent = {name.decode(): value.decode() for name, value in headers if name in _W3C_HEADERS}
    return _W3C.extract(sent, _NOWHERE) if sent else _NOWHERE
