"""Spans as a real OTLP receiver gets them."""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import AbstractAsyncContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from smart_embedder.settings import Settings
from smart_embedder.telemetry.tracing import Tracing, set_up_tracing

pytestmark = pytest.mark.anyio

MakeWatched = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


class Receiver:
    """Keeps every span it was sent."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.spans: list[Span] = []
        self.service_names: set[str] = set()

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            for attribute in resource.resource.attributes:
                if attribute.key == "service.name":
                    self.service_names.add(attribute.value.string_value)
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)

    def named(self, name: str) -> Span:
        [span] = [span for span in self.spans if span.name == name]
        return span

    def request(self) -> Span:
        [span] = [span for span in self.spans if span.kind == Span.SPAN_KIND_SERVER]
        return span


@pytest.fixture
def http_receiver() -> Iterator[Receiver]:
    """An OTLP receiver that speaks protobuf over HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] is None and self.path == "/v1/traces":
                receiver.take(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield receiver
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def grpc_receiver() -> Iterator[Receiver]:
    """An OTLP receiver that speaks gRPC."""

    class Service(TraceServiceServicer):
        def Export(  # noqa: N802 - the name of the protocol's method
            self, request: ExportTraceServiceRequest, _: grpc.ServicerContext
        ) -> ExportTraceServiceResponse:
            receiver.take(request)
            return ExportTraceServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    receiver = Receiver(f"http://127.0.0.1:{port}")
    server.start()
    yield receiver
    server.stop(None).wait()


async def embed_once(make_watched: MakeWatched, tracing: Tracing) -> httpx.Response:
    """One traced request; what it left is sent before this returns."""
    async with make_watched(tracing) as client:
        answer = await client.post(
            "/embeddings/", json={"sentences": ["never in a span"]}, headers=CALLER
        )
    tracing.close()
    return answer


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_one_request_is_one_tree_in_its_callers_trace(
    protocol: str,
    make_watched: MakeWatched,
    http_receiver: Receiver,
    grpc_receiver: Receiver,
) -> None:
    receiver = grpc_receiver if protocol == "grpc" else http_receiver
    settings = Settings(otlp_endpoint=receiver.endpoint, otlp_service_name="s3-embedding.server")
    tracing = set_up_tracing(settings, {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol})

    answer = await embed_once(make_watched, tracing)

    request = receiver.request()
    assert receiver.service_names == {"s3-embedding.server"}
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    assert request.name == "POST /embeddings"
    stages = [span for span in receiver.spans if span.parent_span_id == request.span_id]
    assert {span.name for span in stages} == {"admit", "tokenize", "queue", "inference", "encode"}
    assert all(
        request.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        for span in stages
    )
    assert answer.headers["traceparent"] == f"00-{TRACE}-{request.span_id.hex()}-01"


async def test_a_batch_is_linked_to_the_requests_it_served(
    make_watched: MakeWatched, http_receiver: Receiver
) -> None:
    tracing = set_up_tracing(
        Settings(otlp_endpoint=http_receiver.endpoint),
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
    )

    await embed_once(make_watched, tracing)

    batch, request = http_receiver.named("batch embed"), http_receiver.request()
    assert [link.span_id for link in batch.links] == [request.span_id]
    assert batch.trace_id != request.trace_id


async def test_no_text_becomes_an_attribute(
    make_watched: MakeWatched, http_receiver: Receiver
) -> None:
    tracing = set_up_tracing(
        Settings(otlp_endpoint=http_receiver.endpoint),
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
    )

    await embed_once(make_watched, tracing)

    assert http_receiver.spans
    assert "never in a span" not in str(http_receiver.spans)


async def test_a_caller_that_does_not_sample_is_not_traced(
    make_watched: MakeWatched, http_receiver: Receiver
) -> None:
    tracing = set_up_tracing(
        Settings(otlp_endpoint=http_receiver.endpoint),
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
    )
    async with make_watched(tracing) as client:
        await client.post(
            "/embeddings/",
            json={"sentences": ["a"]},
            headers={"traceparent": CALLER["traceparent"][:-1] + "0"},
        )
    tracing.close()

    assert http_receiver.spans == []


async def test_a_share_of_the_requests_is_traced_each_whole_with_its_batch(
    make_watched: MakeWatched, http_receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.3")
    tracing = set_up_tracing(
        Settings(otlp_endpoint=http_receiver.endpoint),
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
    )
    async with make_watched(tracing, rate_limit_requests_per_minute=0) as client:
        answers = [
            await client.post("/embeddings/", json={"sentences": [f"text {n}"]}) for n in range(200)
        ]
    tracing.close()

    told = [answer.headers["traceparent"] for answer in answers if "traceparent" in answer.headers]
    sampled = {line.split("-")[2] for line in told if line.endswith("-01")}
    requests = [span for span in http_receiver.spans if span.kind == Span.SPAN_KIND_SERVER]
    batches = [span for span in http_receiver.spans if span.name == "batch embed"]
    assert len(told) == len(sampled)
    assert 20 < len(sampled) < 110  # 60 in the middle, and less than once in 10^9 outside
    assert {span.span_id.hex() for span in requests} == sampled
    assert {link.span_id.hex() for span in batches for link in span.links} == sampled
    assert len(http_receiver.spans) == len(sampled) * 7


async def test_probes_are_not_traced(make_watched: MakeWatched, http_receiver: Receiver) -> None:
    tracing = set_up_tracing(
        Settings(otlp_endpoint=http_receiver.endpoint),
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
    )
    async with make_watched(tracing) as client:
        await client.get("/health/live")
    tracing.close()

    assert http_receiver.spans == []


@pytest.mark.parametrize(
    ("settings", "environ", "off"),
    [
        ({}, {}, True),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, False),
        ({"otlp_endpoint": "http://127.0.0.1:1"}, {}, False),
        ({"otlp_endpoint": "http://127.0.0.1:1"}, {"OTEL_SDK_DISABLED": "true"}, True),
    ],
)
def test_nothing_is_built_unless_somebody_names_an_endpoint(
    settings: dict[str, str], environ: dict[str, str], *, off: bool
) -> None:
    tracing = set_up_tracing(Settings(**settings), environ)

    assert (tracing is None) is off
    if tracing:
        tracing.close()


async def test_the_exemplar_of_a_slow_request_names_its_trace(
    make_watched: MakeWatched, http_receiver: Receiver
) -> None:
    tracing = set_up_tracing(
        Settings(otlp_endpoint=http_receiver.endpoint),
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
    )
    async with make_watched(tracing) as client:
        await client.post("/embeddings/", json={"sentences": ["a"]}, headers=CALLER)
        page = await client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    tracing.close()

    assert f'trace_id="{TRACE}"' in page.text
