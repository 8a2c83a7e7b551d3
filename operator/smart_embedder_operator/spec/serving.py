"""How one pod serves: its batches, its queue, its time limits, its traces."""

from typing import Annotated, ClassVar

from msgspec import Meta

from smart_embedder_operator.spec.fields import Piece, Rule, Url, says

DEFAULT_REQUEST_TIMEOUT_SECONDS = 30
DEFAULT_DRAIN_SECONDS = 30


class Serving(Piece, frozen=True, kw_only=True):
    """Limits of one pod. What is unset follows the service's own default for the hardware."""

    max_batch_tokens: Annotated[
        Annotated[int, Meta(ge=64, le=4194304)] | None,
        says("Tokens of one forward pass. Unset derives it from the memory of the device."),
    ] = None
    queue_size: Annotated[
        Annotated[int, Meta(ge=1, le=100000)] | None,
        says("Embedding requests one pod admits before it answers that it is busy."),
    ] = None
    rerank_slots: Annotated[
        Annotated[int, Meta(ge=1, le=100000)] | None,
        says("Rerank requests one pod admits before it answers that it is busy."),
    ] = None
    request_timeout_seconds: Annotated[
        Annotated[int, Meta(ge=1, le=3600)] | None,
        says("Longest time one request may take. At most drainSeconds. Default: 30."),
    ] = None
    drain_seconds: Annotated[
        Annotated[int, Meta(ge=1, le=3600)] | None,
        says(
            "How long a stopping pod may take to finish what it has admitted. The pod's grace "
            "period is derived from it. Default: 30."
        ),
    ] = None
    cache_entries: Annotated[
        Annotated[int, Meta(ge=0, le=10000000)] | None,
        says("Answers one pod remembers for texts it sees again; 0 remembers none."),
    ] = None

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.requestTimeoutSeconds) ? self.requestTimeoutSeconds : 30) <= "
            "(has(self.drainSeconds) ? self.drainSeconds : 30)",
            "spec.serving.requestTimeoutSeconds may not exceed drainSeconds (both are 30 when "
            "unset), or a request could be cut off by a rollout: raise drainSeconds to match",
            lambda serving: serving.timeout <= serving.drain,
        ),
    )

    @property
    def timeout(self) -> int:
        """Longest time one request may take, in seconds."""
        return self.request_timeout_seconds or DEFAULT_REQUEST_TIMEOUT_SECONDS

    @property
    def drain(self) -> int:
        """Seconds that a stopping pod has for what it admitted."""
        return self.drain_seconds or DEFAULT_DRAIN_SECONDS


class Tracing(Piece, frozen=True, kw_only=True):
    """Traces of requests and batches, by OpenTelemetry."""

    endpoint: Annotated[Url, says("Address of the OTLP collector, http://collector:4317 say.")]
    ratio: Annotated[
        Annotated[float, Meta(ge=0, le=1)],
        says("Share of the requests that are traced, from 0 to 1."),
    ] = 1.0
