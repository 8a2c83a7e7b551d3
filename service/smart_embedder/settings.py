"""Every setting of the service: one frozen value, read once, passed on.

It owns names, defaults, meanings and the checks between them; each field is an environment
variable of the same name in capitals. The names are those of the services this one stands in for,
and `docs/configuration.md` is this file as a table. It refuses to know what a value does.
"""

import ipaddress
import math
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, SecretStr, ValidationError, field_validator
from pydantic_core import from_json
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from smart_embedder.environment import InvalidSettings, PrefixedVariables, refuse_unknown
from smart_embedder.options import DEFAULT_EMBEDDING_MODEL, DEFAULT_RERANKER_MODEL

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Words = Annotated[tuple[str, ...], NoDecode]
Pairs = Annotated[dict[str, str], NoDecode]
Networks = Annotated[tuple[Network, ...], NoDecode]
Port = Annotated[int, Field(le=65535)]

NO_MODEL = "none"
"""The value of a model variable that serves no model of that kind."""

# Where a variable comes from, for the configuration table.
EMBEDDER = "hybrid embedding server"
EMBED_V1 = "/api/v1/embed server"
RERANKER = "rerank server"
OPENAI = "OpenAI-style server"
HUB = "Hugging Face"
OURS = "new here"


def setting(default: object, description: str, *, origin: str = OURS, scope: str = "all") -> Any:
    """Declare a field together with what the configuration table says of it."""
    facts: dict[str, JsonValue] = {"origin": origin, "scope": scope}
    return Field(default, description=description, json_schema_extra=facts)


class Settings(BaseSettings):
    """What the process was told: flags first, then the environment."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,  # a mistyped secret must not be printed
        protected_namespaces=(),  # MODEL_ID and MODEL_DEVICE are names people already use
    )

    # Models
    embedding_model: str = setting(
        DEFAULT_EMBEDDING_MODEL, "Gives dense, sparse and ColBERT vectors; `none` serves none"
    )
    dense_embedding_model: str | None = setting(
        None, "A second model for the dense vectors; unset, the embedding model", origin=EMBEDDER
    )
    reranker_model: str = setting(
        DEFAULT_RERANKER_MODEL, "Scores passages; `none` serves none", origin=EMBEDDER
    )
    models: Words = setting(
        (),
        "Models to serve by name, comma-separated; the first is the embedding model unless that"
        " is set, the others are reachable by name (required there)",
        origin=OPENAI,
    )
    model_id: str | None = setting(
        None,
        "The embedding model, when EMBEDDING_MODEL is not set (./Qwen3-Embedding-0.6B there)",
        origin=EMBED_V1,
    )
    model_name: str | None = setting(
        None,
        "The reranker, when RERANKER_MODEL is not set (Qwen/Qwen3-Reranker-0.6B there)",
        origin=RERANKER,
    )
    model_aliases: Pairs = setting(
        {}, "Names that requests may use, as `alias=model` pairs, comma-separated"
    )
    revision: str | None = setting(
        None, "Branch, tag or commit of the embedding model", origin=EMBED_V1
    )
    dense_revision: str | None = setting(None, "Branch, tag or commit of the dense model")
    reranker_revision: str | None = setting(None, "Branch, tag or commit of the reranker")
    dtype: Literal["auto", "float32", "float16", "bfloat16", "int8"] = setting(
        "auto", "Precision of the weights; auto follows the device (float16 there)", origin=EMBED_V1
    )
    pooling: Literal["cls", "mean", "last"] | None = setting(
        None, "How tokens become one dense vector; unset, the model's own", origin=EMBED_V1
    )
    inference_engine: Literal["packed", "flagembedding"] = setting(
        "packed", "packed (ours) or flagembedding (the reference, for comparison)"
    )
    default_prompt: str | None = setting(
        None, "Put before every text of a request that names no prompt", origin=EMBED_V1
    )
    prompts: dict[str, str] = setting({}, "Prompts by name, as a JSON object", origin=EMBED_V1)

    # Lengths, in tokens
    bge_embed_max_length: int | None = setting(
        None, "Longest text for BGE-M3; unset, MAX_INPUT_LENGTH", origin=EMBEDDER
    )
    qwen_embed_max_length: int = setting(32768, "Longest text for Qwen3-Embedding", origin=EMBEDDER)
    bge_rerank_max_length: int = setting(
        8192, "Longest query and passage together for the BGE reranker", origin=EMBEDDER
    )
    qwen_rerank_max_length: int = setting(
        32768, "Longest query and passage together for Qwen3-Reranker", origin=EMBEDDER
    )
    max_input_length: int = setting(
        8192, "Longest text where no model-specific length is set", origin=EMBEDDER
    )

    # Device and batches
    model_device: str = setting(
        "auto", "auto, cpu, cuda, cuda:N, several with commas, or mps", origin=OPENAI
    )
    multi_gpu_devices: Words = setting(
        (), "Devices that each hold the models, when MODEL_DEVICE is auto", origin=EMBEDDER
    )
    torch_threads: int | None = setting(
        None, "Threads of a CPU forward pass; unset, the cores at hand (4 there)", origin=RERANKER
    )
    tokenization_workers: int | None = setting(
        None, "Texts tokenized in parallel; unset, the cores at hand", origin=EMBED_V1
    )
    max_batch_tokens: int | None = setting(
        None,
        "Tokens of one forward pass; unset, from the device's memory (1384 there)",
        origin=EMBED_V1,
    )
    max_batch_requests: int | None = setting(
        None, "Texts of one forward pass; unset, only tokens count (5 there)", origin=EMBED_V1
    )
    batch_size: int | None = setting(
        None, "The same, when MAX_BATCH_REQUESTS is not set (32 there)", origin=RERANKER
    )
    qwen_rerank_batch_size: int | None = setting(
        None,
        "Pairs of the longest length whose memory one pass of Qwen3-Reranker may take; unset, from"
        " the device's memory (16 there)",
        origin=EMBEDDER,
        scope="reranking",
    )
    max_concurrent: Annotated[int, Field(ge=1)] | None = setting(
        None,
        "Passes at once, each on a device of its own: so many devices are used; also the threads"
        " that tokenize when TOKENIZATION_WORKERS is not set. Unset, every device and core",
        origin=OPENAI,
    )
    enable_batching: bool = setting(
        True, "Batch texts of different requests together", origin=OPENAI
    )
    batch_window_ms: float = setting(
        0, "Wait this long for company when the device is idle", origin=OPENAI
    )
    batch_window_max_size: int | None = setting(
        None, "The same as MAX_BATCH_REQUESTS, when neither of the others is set", origin=OPENAI
    )
    embedding_cache_size: int = setting(
        256, "Vectors kept by content; 0 switches the cache off", origin=OPENAI
    )
    enable_warmup: bool = setting(True, "Run the models before being ready", origin=OPENAI)
    warmup_steps: int = setting(1, "Rounds of it", origin=OPENAI)
    warmup_batch_size: int = setting(1, "Texts of a round", origin=OPENAI)

    # Admission and time
    max_queue_size: int = setting(
        200, "Embedding requests admitted and not yet answered", origin=EMBEDDER
    )
    rerank_max_queue: int = setting(
        32, "Rerank requests admitted and not yet answered", origin=EMBEDDER
    )
    max_queue_tokens: int | None = setting(
        None, "Tokens admitted and not yet answered; unset, from the batch budget"
    )
    acquire_timeout: float = setting(
        0.5, "Seconds a native request waits for room in a full queue", scope="native"
    )
    request_timeout: float = setting(
        90, "Seconds a request may take; X-Request-Timeout may ask for less", origin=EMBEDDER
    )
    gpu_process_timeout: float | None = setting(
        None, "Seconds of one embedding pass; unset, 15 on CUDA and 30 on CPU", origin=EMBEDDER
    )
    rerank_gpu_timeout: float = setting(60, "Seconds of one rerank pass", origin=EMBEDDER)

    # Limits of one request
    max_body_bytes: int = setting(32 * 1024 * 1024, "Largest request body")
    max_client_batch_size: int = setting(
        32, "Texts in one request (2 there)", origin=EMBED_V1, scope="/api/v1/embed, TEI"
    )
    max_concurrent_requests: int | None = setting(
        None, "Instead of MAX_QUEUE_SIZE, which it overrides (1 there)", origin=EMBED_V1
    )
    max_batch_size: int = setting(
        2048,
        "Texts in one request (32 there)",
        origin=OPENAI,
        scope="OpenAI, Cohere, vLLM, llama.cpp",
    )
    max_text_chars: int = setting(
        0,
        "Characters of one text; 0 leaves it to tokens (20000 there)",
        origin=OPENAI,
        scope="OpenAI",
    )
    max_documents: int = setting(
        100,
        "Documents in one request",
        origin=RERANKER,
        scope="Cohere, Jina, vLLM, llama.cpp",
    )

    # Access
    api_token: SecretStr = setting(
        SecretStr(""), "Bearer token; empty with API_KEY switches tokens off", origin=EMBEDDER
    )
    api_key: SecretStr = setting(SecretStr(""), "Another bearer token", origin=EMBED_V1)
    api_tokens_file: Path | None = setting(
        None, "A file of `name: token` lines, read again when it changes"
    )
    rate_limit_requests_per_minute: int = setting(
        3600, "Per token, or per address without one; 0 switches it off", origin=EMBEDDER
    )
    rate_limit_burst_size: int = setting(120, "Requests that may come at once", origin=EMBEDDER)
    trusted_proxies: Networks = setting(
        (), "Addresses or networks whose X-Forwarded-For is believed"
    )

    # HTTP
    host: str = setting("0.0.0.0", "Address to listen on")  # noqa: S104 - a server in a pod
    port: Port = setting(
        8000,
        "Port to listen on (8080 in the /api/v1/embed server, 8004 in the rerank server)",
        origin=EMBEDDER,
    )
    metrics_port: Port = setting(9090, "A port for /metrics alone; 0 for none")
    enable_metrics: bool = setting(True, "Serve /metrics", origin=OPENAI)
    compress_responses: bool = setting(
        False, "Compress (zstd, gzip) for clients that accept it; vectors hardly shrink"
    )
    uvicorn_workers: Annotated[int, Field(ge=1, le=1)] = setting(
        1, "Processes; one, because each would hold the models", origin=RERANKER
    )
    uvicorn_max_connections: int = setting(
        2000, "Connections kept open; beyond it each ends with its answer", origin=RERANKER
    )
    uvicorn_limit_concurrency: int = setting(
        1000, "Requests being answered; probes are never refused", origin=RERANKER
    )
    uvicorn_backlog: int = setting(2048, "Connections waiting to be accepted", origin=RERANKER)
    uvicorn_timeout_keep_alive: int = setting(
        5, "Seconds an idle connection is kept", origin=RERANKER
    )
    connection_max_age: float = setting(
        60, "Seconds after which a connection is retired; 0 keeps it"
    )
    connection_max_requests: int = setting(
        0, "Requests after which a connection is retired (8 under the operator); 0 keeps it"
    )

    # Life and death
    drain_delay: float = setting(0, "Seconds of service after SIGTERM, while endpoints go")
    drain_seconds: float = setting(30, "Seconds for admitted work to finish")
    termination_log: Path = setting(
        Path("/dev/termination-log"), "Where the reason of a failed start is written"
    )

    # What is seen
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = setting(
        "INFO", "Least level that is logged", origin=RERANKER
    )
    enable_logging: bool = setting(True, "Write logs at all", origin=RERANKER)
    json_output: bool = setting(False, "JSON lines instead of readable ones", origin=EMBED_V1)
    otlp_endpoint: str | None = setting(None, "Where spans are sent", origin=EMBED_V1)
    otlp_service_name: str = setting(
        "smart-embedder",
        "The service's name in traces (s3-embedding.server there)",
        origin=EMBED_V1,
    )

    # The hub; read by its own library too
    hf_home: Path | None = setting(None, "Folder of the model cache", origin=HUB)
    hf_endpoint: str | None = setting(None, "Address of the hub or a mirror", origin=HUB)
    hf_hub_offline: bool = setting(False, "Never touch the network", origin=HUB)
    hf_token: SecretStr = setting(SecretStr(""), "Token for gated models", origin=HUB)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then our prefix, then plain names."""
        del dotenv_settings, file_secret_settings
        return init_settings, PrefixedVariables(settings_cls), env_settings

    @field_validator("models", "multi_gpu_devices", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _words(value) if isinstance(value, str) else value

    @field_validator("prompts", mode="before")
    @classmethod
    def _object(cls, value: object) -> object:
        return from_json(value) if isinstance(value, str) else value

    @field_validator("pooling", mode="before")
    @classmethod
    def _last(cls, value: object) -> object:
        return "last" if value == "last-token" else value  # TEI's word for it

    @field_validator("*")
    @classmethod
    def _from_nothing_up(cls, value: object) -> object:
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            raise ValueError("must be a number from 0 up")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _capitals(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("model_aliases", mode="before")
    @classmethod
    def _pair(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [word.partition("=") for word in _words(value)]
        if wrong := [alias for alias, equals, name in pairs if not (alias and equals and name)]:
            raise ValueError(f"{wrong[0]!r} is not an `alias=model` pair")
        return {alias.strip(): name.strip() for alias, _, name in pairs}

    @property
    def tokens(self) -> dict[str, str]:
        """The bearer tokens of the environment, by the name they have in logs."""
        named = {"api_token": self.api_token, "api_key": self.api_key}
        return {n: t.get_secret_value() for n, t in named.items() if t.get_secret_value()}


def read_settings(**flags: Any) -> Settings:
    """Read flags and environment once; `InvalidSettings` names every variable that is wrong.

    The hub's variables have no spelling with our prefix: its own library would not read it.
    """
    refuse_unknown(
        os.environ, [name for name in Settings.model_fields if not name.startswith("hf_")]
    )
    try:
        return Settings(**flags)
    except ValidationError as error:
        wrong = [f"{str(found['loc'][0]).upper()}: {found['msg']}" for found in error.errors()]
        raise InvalidSettings("; ".join(wrong)) from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
