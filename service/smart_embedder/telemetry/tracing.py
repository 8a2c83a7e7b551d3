"""Spans over OTLP: one for each request with its stages, one for each batch, linked.

Without an endpoint nothing here is built and `Tracing.off` costs one comparison a request. Texts
never become attributes.
"""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from smart_embedder.scheduling.observer import Answered, BatchFacts, Outcome
from smart_embedder.settings import Settings

NANOSECONDS = 1e9
_W3C = TraceContextTextMapPropagator()


class Tracing:
    """The tracer of one process, or none."""

    def __init__(self, provider: TracerProvider | None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("smart_embedder") if provider else None

    @property
    def off(self) -> bool:
        """Whether nothing is traced."""
        return self._tracer is None

    def begin(self, method: str, headers: Mapping[str, str], started: int) -> Span:
        """Open the span of a request, in its caller's trace when it sent one."""
        assert self._tracer is not None  # noqa: S101 - callers ask `off` first
        parent: Context = _W3C.extract(headers)
        return self._tracer.start_span(method, parent, kind=SpanKind.SERVER, start_time=started)

    def stages(self, answered: Answered) -> None:
        """Add what a request went through to its span: the stages were measured once, elsewhere."""
        span = trace.get_current_span()
        if not isinstance(span, ReadableSpan) or span.start_time is None:
            return  # not sampled
        now = time.time_ns()
        spent = answered.tokenize + answered.queue + answered.inference
        begins = now - int(spent * NANOSECONDS)
        self._stage("admit", span.start_time, begins)
        for name, seconds in (
            ("tokenize", answered.tokenize),
            ("queue", answered.queue),
            ("inference", answered.inference),
        ):
            ends = begins + int(seconds * NANOSECONDS)
            self._stage(name, begins, ends)
            begins = ends

    def encoded(self, since: int) -> None:
        """Add the stage from the last vector to the last byte."""
        self._stage("encode", since, time.time_ns())

    def batch(self, batch: BatchFacts, seconds: float, outcome: Outcome) -> None:
        """Report one pass, linked to the requests it served; a trace of its own."""
        served = {each.span_id: each for each in batch.traces if isinstance(each, SpanContext)}
        if self._tracer is None or not served:
            return
        now = time.time_ns()
        span = self._tracer.start_span(
            f"batch {batch.kind}",
            Context({}),
            start_time=now - int(seconds * NANOSECONDS),
            links=[Link(context) for context in served.values()],
            attributes={
                "smart_embedder.device": batch.device,
                "smart_embedder.model": batch.model,
                "smart_embedder.texts": batch.texts,
                "smart_embedder.tokens": batch.tokens,
                "smart_embedder.fill_ratio": batch.fill,
            },
        )
        if outcome != "success":
            span.set_status(Status(StatusCode.ERROR, outcome))
        span.end(now)

    def close(self) -> None:
        """Send what is left."""
        if self._provider:
            self._provider.shutdown()

    def _stage(self, name: str, begins: int, ends: int) -> None:
        if self._tracer is not None:
            self._tracer.start_span(name, start_time=begins).end(max(begins, ends))


def current_context() -> SpanContext | None:
    """Return the context of the calling request, when its trace is being recorded."""
    context = trace.get_current_span().get_span_context()
    return context if context.is_valid and context.trace_flags.sampled else None


def inject(span: Span) -> dict[str, str]:
    """Write the headers by which others continue this trace."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(span))
    return carrier


def set_up_tracing(settings: Settings, environ: Mapping[str, str] = os.environ) -> Tracing:
    """Build the tracer that the settings and the standard OTEL_* variables ask for."""
    named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    wanted = settings.otlp_endpoint or any(environ.get(name) for name in named)
    if not wanted or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Tracing(None)
    name = environ.get("OTEL_SERVICE_NAME", settings.otlp_service_name)
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(_exporter(settings, environ)))
    return Tracing(provider)


def _exporter(settings: Settings, environ: Mapping[str, str]) -> SpanExporter:
    """Choose gRPC unless the protocol says HTTP; the standard variables win over OTLP_ENDPOINT."""
    protocol = environ.get(
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    )
    options: dict[str, Any] = {}
    if settings.otlp_endpoint and not _named_by_standard(environ):
        options["endpoint"] = _endpoint(settings.otlp_endpoint, protocol)
    if protocol.startswith("http"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - one of two
            OTLPSpanExporter as HttpExporter,
        )

        return HttpExporter(**options)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415 - one of two
        OTLPSpanExporter as GrpcExporter,
    )

    return GrpcExporter(**options)


def _named_by_standard(environ: Mapping[str, str]) -> bool:
    names: Sequence[str] = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(environ.get(name) for name in names)


def _endpoint(endpoint: str, protocol: str) -> str:
    """The HTTP exporter wants the whole path when it is told in code."""
    if protocol.startswith("http") and not endpoint.rstrip("/").endswith("/v1/traces"):
        return endpoint.rstrip("/") + "/v1/traces"
    return endpoint
