"""Where spans are sent, as the settings and the standard OTEL_* variables say."""

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace.export import SpanExporter

from smart_embedder.settings import Settings


def exporter(settings: Settings, environ: Mapping[str, str]) -> SpanExporter:
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
