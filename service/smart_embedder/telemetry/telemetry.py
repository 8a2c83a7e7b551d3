"""Where watching is put together: what the engine reports to, and what goes around the app."""

from collections.abc import Iterator

from litestar.types import ASGIApp

from smart_embedder.api.operations import VERSION, Percentiles
from smart_embedder.engine import Engine
from smart_embedder.lifecycle import Lifecycle
from smart_embedder.models.model import Card, Output
from smart_embedder.results import State
from smart_embedder.runtime.memory import DeviceMemory, device_memory
from smart_embedder.scheduling.observer import Observer
from smart_embedder.scheduling.statistics import QueueSnapshot
from smart_embedder.settings import Settings
from smart_embedder.telemetry.ledger import Ledger
from smart_embedder.telemetry.logs import Page
from smart_embedder.telemetry.metrics import Metrics
from smart_embedder.telemetry.recent import Recent
from smart_embedder.telemetry.requests import Watched
from smart_embedder.telemetry.tracing import Tracing
from smart_embedder.telemetry.watch import Watch


class Telemetry:
    """The metrics, traces and percentiles of one process."""

    def __init__(
        self,
        settings: Settings,
        lifecycle: Lifecycle,
        tracing: Tracing | None,
        page: Page | None,
    ) -> None:
        self._settings = settings
        self._lifecycle = lifecycle
        self._engine: Engine | None = None
        self.metrics = Metrics(self._queue, self.memory)
        self._tracing = tracing
        self._recent = Recent()
        self._ledger = Ledger(self.metrics, tracing, self._recent, page)

    @property
    def observer(self) -> Observer:
        """What the engine reports to."""
        return Watch(self.metrics, self._tracing)

    def follow(self, engine: Engine) -> None:
        """Read the live gauges from this engine from now on."""
        self._engine = engine

    def around(self, app: ASGIApp) -> ASGIApp:
        """Watch every request of an application."""
        return Watched(app, self._tracing, self._ledger)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Give the content of /metrics."""
        self.settle()
        for state in State:
            self.metrics.state.set(state is self._lifecycle.state, state)
        if self._engine:
            self.metrics.alive.set(self._engine.health.alive)
        self.metrics.info.info(self._info())
        for role, card in self._served():
            self.metrics.models.set(1, role, card.name, card.revision, card.fingerprint)
        return self.metrics.render(accept)

    def latency(self) -> Percentiles:
        """Give the percentiles of the last minutes, for /stats."""
        self.settle()
        return self._recent.percentiles()

    def settle(self) -> None:
        """Tell of every request that is over."""
        self._ledger.settle()

    def close(self) -> None:
        """Tell and send what is left."""
        self.settle()
        if self._tracing:
            self._tracing.close()

    def _queue(self) -> QueueSnapshot:
        return self._engine.queue() if self._engine else QueueSnapshot()

    def memory(self) -> DeviceMemory:
        """Read the GPUs' memory, for /health."""
        return device_memory() if self._on_gpu else DeviceMemory()

    @property
    def _devices(self) -> tuple[str, ...]:
        return self._engine.health.devices if self._engine else ()

    @property
    def _on_gpu(self) -> bool:
        return any(device.startswith("cuda") for device in self._devices)

    def _served(self) -> Iterator[tuple[str, Card]]:
        """Every loaded model with the part it plays."""
        if self._engine is None or not self._engine.models:
            return
        asked = self._engine.options
        parts = {"embedding": asked.embedding, "dense": asked.dense, "reranker": asked.reranker}
        for role, options in parts.items():
            if options is not None:
                yield role, self._engine.lookup(options.name)

    def _info(self) -> dict[str, str]:
        settings = self._settings
        bge_embed = settings.bge_embed_max_length or settings.max_input_length
        return {
            "model": self._model(Output.SPARSE) or settings.embedding_model,
            "dense_embedding_model": self._model(Output.DENSE)
            or settings.dense_embedding_model
            or settings.embedding_model,
            "bge_embed_max_length": str(bge_embed),
            "qwen_embed_max_length": str(settings.qwen_embed_max_length),
            "bge_rerank_max_length": str(settings.bge_rerank_max_length),
            "qwen_rerank_max_length": str(settings.qwen_rerank_max_length),
            "version": VERSION,
            "gpu_available": str(self._on_gpu),
            "device": ", ".join(self._devices) or settings.model_device,
        }

    def _model(self, output: Output) -> str | None:
        return self._engine.name_of(output) if self._engine else None
