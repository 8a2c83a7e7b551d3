"""What probes, scrapers and people ask of the process: public, and answered in every state."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Literal, Protocol

import msgspec

from smart_embedder.api.call import Call
from smart_embedder.api.dialect import Reply
from smart_embedder.lifecycle import Lifecycle, describe
from smart_embedder.models.model import Output
from smart_embedder.results import State
from smart_embedder.runtime.memory import DeviceMemory
from smart_embedder.scheduling.statistics import QueueSnapshot, Statistics

VERSION = version("smart-embedder")


class Percentiles(msgspec.Struct, frozen=True):
    """Seconds that requests took, over the last minutes."""

    count: int
    p50: float
    p95: float
    p99: float


class Meters(Protocol):
    """What the process measures about itself."""

    def render(self, accept: str) -> tuple[bytes, str]:
        """Give the metrics and their media type, of those the reader accepts."""
        ...

    def latency(self) -> Percentiles:
        """Give the percentiles of the last minutes."""
        ...

    def memory(self) -> DeviceMemory:
        """Read the memory of the GPUs; zeros where there is none."""
        ...


class Unmetered:
    """The meters of an application that nobody measures."""

    def render(self, accept: str) -> tuple[bytes, str]:
        """See `Meters`."""
        del accept
        return b"", "text/plain"

    def latency(self) -> Percentiles:
        """See `Meters`."""
        return Percentiles(0, 0.0, 0.0, 0.0)

    def memory(self) -> DeviceMemory:
        """See `Meters`."""
        return DeviceMemory()


class Health(msgspec.Struct):
    """What is served, on what, and whether it is."""

    status: str
    """healthy, or the state that it is in instead; `failed` also when no worker is alive."""
    version: str
    model: str | None
    dense_embedding_model: str | None
    reranker_model: str | None
    device: str
    gpu_available: bool
    gpu_memory: DeviceMemory
    devices: list[str]
    batch_size: int | None
    """Texts of one pass, where that is limited."""
    max_batch_tokens: int | None
    queue_depth: int
    uptime_seconds: float
    message: str | None = None


class Liveness(msgspec.Struct):
    """Whether a restart would help."""

    alive: bool


class Readiness(msgspec.Struct):
    """Whether new connections should be sent here."""

    ready: bool
    state: State


class Startup(msgspec.Struct):
    """How far the start is."""

    started: bool
    state: State
    message: str
    stage: Literal["downloading", "loading", "warming"] | None = None
    model: str | None = None
    done: int = 0
    total: int = 0
    """Bytes while downloading, rounds while warming."""


class Hardware(msgspec.Struct):
    """Where the models are."""

    devices: list[str]
    gpu_available: bool


class Stats(msgspec.Struct):
    """Counts since the start, and the queue at this moment."""

    uptime_seconds: float
    total_requests: int
    total_sentences: int
    total_batches: int
    rejected_requests: int
    hardware: Hardware
    latency: Percentiles
    queue: QueueSnapshot
    counts: Statistics


class Operations:
    """The endpoints of one process."""

    def __init__(self, lifecycle: Lifecycle, meters: Meters) -> None:
        self._lifecycle = lifecycle
        self._meters = meters

    async def health(self, _: None, call: Call) -> Reply:
        """Answer GET /health: 503 until ready, and again when draining."""
        engine = call.engine.health
        scheduling = call.engine.options.scheduling
        return _judged(
            Health(
                status=self._word(call),
                version=VERSION,
                model=call.name_of(Output.SPARSE) or call.name_of(Output.DENSE),
                dense_embedding_model=call.name_of(Output.DENSE),
                reranker_model=call.name_of(Output.SCORE),
                device=", ".join(engine.devices) or call.settings.model_device,
                gpu_available=_has_gpu(engine.devices),
                gpu_memory=self._meters.memory(),
                devices=list(engine.devices),
                batch_size=scheduling.max_batch_texts,
                max_batch_tokens=scheduling.max_batch_tokens or engine.batch_tokens,
                queue_depth=call.engine.queue().depth,
                uptime_seconds=round(self._lifecycle.uptime, 3),
                message=self._lifecycle.failure,
            ),
            good=self._up(call),
        )

    async def live(self, _: None, call: Call) -> Reply:
        """Answer GET /health/live from the workers' heartbeats."""
        alive = call.engine.health.alive and self._lifecycle.state is not State.FAILED
        return _judged(Liveness(alive), good=alive)

    async def ready(self, _: None, call: Call) -> Reply:
        """Answer GET /health/ready."""
        return _judged(Readiness(self._up(call), self._lifecycle.state), good=self._up(call))

    async def startup(self, _: None, __: Call) -> Reply:
        """Answer GET /health/startup: good from the moment the models are warm."""
        state, progress = self._lifecycle.state, self._lifecycle.progress
        started = state not in (State.STARTING, State.FAILED)
        answer = Startup(started, state, self._lifecycle.failure or describe(progress))
        if started:
            answer.message = "started"
        elif progress:
            answer.stage, answer.model = progress.stage, progress.model
            answer.done, answer.total = progress.done, progress.total
        return _judged(answer, good=started)

    async def stats(self, _: None, call: Call) -> Stats:
        """Answer GET /stats."""
        counts = call.engine.statistics()
        devices = call.engine.health.devices
        return Stats(
            uptime_seconds=round(self._lifecycle.uptime, 3),
            total_requests=counts.requests,
            total_sentences=counts.texts,
            total_batches=counts.batches,
            rejected_requests=counts.refused,
            hardware=Hardware(list(devices), _has_gpu(devices)),
            latency=self._meters.latency(),
            queue=call.engine.queue(),
            counts=counts,
        )

    async def metrics(self, _: None, call: Call) -> Reply:
        """Answer GET /metrics."""
        content, media_type = self._meters.render(call.accept)
        return Reply(content=content, media_type=media_type)

    def _word(self, call: Call) -> str:
        if self._up(call):
            return "healthy"
        return "failed" if self._lifecycle.ready else self._lifecycle.state

    def _up(self, call: Call) -> bool:
        return self._lifecycle.ready and call.engine.health.alive


def _judged(answer: object, *, good: bool) -> Reply:
    return Reply(content=answer, status=200 if good else 503)


def _has_gpu(devices: Sequence[str]) -> bool:
    return any(device.startswith("cuda") for device in devices)
