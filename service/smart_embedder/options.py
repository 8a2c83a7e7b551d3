"""What the engine can be told, in one frozen value.

The HTTP service builds it from its settings, a library user writes it by hand; nothing below
this file reads the environment.
"""

from dataclasses import dataclass, field

DEFAULT_EMBEDDING_MODEL = "BAAI/bge-m3"
DEFAULT_RERANKER_MODEL = "BAAI/bge-reranker-v2-m3"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """One model to serve: what to load and how."""

    name: str
    """A hub id, a local folder, or a `demo/…` name."""
    revision: str | None = None
    """Branch, tag or commit on the hub; resolved once, at load."""
    dtype: str = "auto"
    """auto, float32, float16, bfloat16 or int8; `auto` follows the device, never a measurement."""
    pooling: str | None = None
    """cls, mean or last; None takes the model's own."""
    max_tokens: int | None = None
    """Longest text in tokens; None takes the model's own."""
    engine: str = "packed"
    """packed (ours) or flagembedding (the reference engine)."""
    max_batch_tokens: int | None = None
    """Tokens of one forward pass of this model; None leaves them to the device's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulingOptions:
    """How much is admitted and how batches are cut."""

    max_queue_requests: int = 200
    """Embedding requests admitted and not yet answered (the seed's MAX_QUEUE_SIZE)."""
    max_rerank_requests: int = 32
    """Rerank requests admitted and not yet answered (the seed's RERANK_MAX_QUEUE)."""
    max_queue_tokens: int | None = None
    """Tokens admitted and not yet answered; None derives it from the batch budget."""
    max_batch_tokens: int | None = None
    """Tokens of one forward pass; None derives it from the device's memory."""
    batch_seconds: float = 0.25
    """A pass is cut to take about this long at the measured rate: a query waits behind one."""
    max_batch_texts: int | None = None
    """Texts of one forward pass; None leaves only the token budget."""
    batch_window_seconds: float = 0.0
    """Optional wait for company when the device is idle; 0 never waits."""
    embed_timeout_seconds: float | None = None
    """Hard limit of one embedding pass; None takes the seed's figure (15 s cuda, 30 s cpu)."""
    rerank_timeout_seconds: float = 60.0
    """Hard limit of one rerank pass (the seed's RERANK_GPU_TIMEOUT)."""
    cache_entries: int = 256
    """Vectors kept in the content-addressed cache; 0 switches it off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Everything `Engine` needs to know."""

    embedding: ModelOptions | None = field(
        default_factory=lambda: ModelOptions(name=DEFAULT_EMBEDDING_MODEL)
    )
    dense: ModelOptions | None = None
    """A second model that gives the dense vectors; sparse and ColBERT stay with `embedding`."""
    reranker: ModelOptions | None = field(
        default_factory=lambda: ModelOptions(name=DEFAULT_RERANKER_MODEL)
    )
    more: tuple[ModelOptions, ...] = ()
    """Further models, reachable by name."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Short names a request may use, each for the name of a served model."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N, a comma-separated list of those, or mps."""
    max_devices: int | None = None
    """Use no more of them; a device runs one pass at a time."""
    threads: int | None = None
    """Threads of a CPU forward pass; None takes the cores this process may use."""
    tokenizer_workers: int | None = None
    """Texts tokenized in parallel; None takes the cores."""
    warmup_rounds: int = 1
    warmup_texts: int = 1
    offline: bool = False
    """Never touch the network; a missing file is an error that names it."""
    hub_endpoint: str | None = None
    cache_dir: str | None = None
    scheduling: SchedulingOptions = field(default_factory=SchedulingOptions)

    @property
    def models(self) -> list[ModelOptions]:
        """Every model to load, each name once."""
        named = [self.embedding, self.dense, self.reranker, *self.more]
        return list({model.name: model for model in named if model}.values())
