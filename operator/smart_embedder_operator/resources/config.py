"""The settings of the service that an Embedder decides, as environment variables. Pure.

Only what is explicitly set stands here: the service's own defaults belong to its image, so that
they change with the image and not with the operator. A contract test holds the names against the
service.
"""

from smart_embedder_operator import record
from smart_embedder_operator.labels import RECORD, of_track
from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.record import Record
from smart_embedder_operator.resources.context import Context
from smart_embedder_operator.resources.manifest import build
from smart_embedder_operator.spec import Embedder, Spec
from smart_embedder_operator.tracks import child_name

CACHE_PATH = "/models"
PORT = 8000
METRICS_PORT = 9090

# Which variable pins which model to a commit.
REVISIONS: dict[str, str] = {
    "embedding": "REVISION",
    "dense": "DENSE_REVISION",
    "reranker": "RERANKER_REVISION",
}

# A Service deals connections out by chance, so it takes many to make the shares even: with 32 that
# are kept for a minute, four pods are within 20 % of an equal share one time in nine; with 8
# requests each, nearly always after 8,000 of them (simulated, and seen in e2e). To connect again
# costs the pod 0.2 ms of a core (measured on loopback).
_CONNECTION_REQUESTS = 8

_EMBED_LENGTHS = ("BGE_EMBED_MAX_LENGTH", "QWEN_EMBED_MAX_LENGTH", "MAX_INPUT_LENGTH")
_RERANK_LENGTHS = ("BGE_RERANK_MAX_LENGTH", "QWEN_RERANK_MAX_LENGTH")


def settings(embedder: Embedder, context: Context) -> dict[str, str]:
    """Every variable that goes into the ConfigMap."""
    spec = embedder.spec
    told = {
        **_models(spec, context),
        **_serving(spec, context),
        **_hub(spec),
        **_network(spec),
        **_tracing(spec),
    }
    return {name: _text(value) for name, value in sorted(told.items()) if value is not None}


Told = dict[str, str | int | float | bool | None]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _models(spec: Spec, context: Context) -> Told:
    models = spec.models
    asked = models.by_role
    return {
        "EMBEDDING_MODEL": asked["embedding"].name if "embedding" in asked else "none",
        "DENSE_EMBEDDING_MODEL": asked["dense"].name if "dense" in asked else None,
        "RERANKER_MODEL": asked["reranker"].name if "reranker" in asked else "none",
        **{REVISIONS[role]: model.revision for role, model in asked.items()},
        "MODEL_DEVICE": context.profile.device,
        "DTYPE": record.meaning(models, context.auto_dtype).dtype,
        "POOLING": models.pooling,
        "INFERENCE_ENGINE": None if models.engine == "packed" else models.engine,
        # The service has a limit for each family of models; the Embedder has one for all.
        **dict.fromkeys(_EMBED_LENGTHS, models.max_length),
        **dict.fromkeys(_RERANK_LENGTHS, models.rerank_max_length),
    }


def _serving(spec: Spec, context: Context) -> Told:
    serving = spec.serving
    return {
        "HOST": "::" if _speaks_ipv6(spec, context) else None,
        "PORT": PORT,
        "METRICS_PORT": METRICS_PORT,
        "JSON_OUTPUT": True,
        # One address in front of many callers: a limit for each address would count the gateway.
        "RATE_LIMIT_REQUESTS_PER_MINUTE": 0,
        "MAX_BATCH_TOKENS": serving.max_batch_tokens,
        "MAX_QUEUE_SIZE": serving.queue_size,
        "RERANK_MAX_QUEUE": serving.rerank_slots,
        "EMBEDDING_CACHE_SIZE": serving.cache_entries,
        "REQUEST_TIMEOUT": serving.timeout,
        "CONNECTION_MAX_REQUESTS": _CONNECTION_REQUESTS,
        "DRAIN_DELAY": context.platform.drain_delay_seconds,
        "DRAIN_SECONDS": serving.drain,
    }


def _speaks_ipv6(spec: Spec, context: Context) -> bool:
    """`::` takes both families; it is not told to everyone, for kernels without IPv6."""
    dual = spec.service.ip_family_policy in {"PreferDualStack", "RequireDualStack"}
    return dual or context.platform.ipv6


def _hub(spec: Spec) -> Told:
    return {
        "HF_HOME": CACHE_PATH,
        "HF_ENDPOINT": spec.hub.endpoint,
        "HF_HUB_OFFLINE": True if spec.hub.offline else None,
    }


def _network(spec: Spec) -> Told:
    if spec.proxy is None:
        return {}
    exceptions = ",".join(spec.proxy.exceptions) or None
    return {
        "HTTP_PROXY": spec.proxy.http,
        "HTTPS_PROXY": spec.proxy.https,
        "NO_PROXY": exceptions,
    }


def _tracing(spec: Spec) -> Told:
    if spec.tracing is None:
        return {}
    return {
        "OTLP_ENDPOINT": spec.tracing.endpoint,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": spec.tracing.ratio,
    }


def config_map(embedder: Embedder, made: Record) -> Manifest:
    """The ConfigMap of a track: its settings, with the pinned commits, and its record.

    The commits stand outside the hash in the pod template: a pod that starts later gets the
    revision that the first one resolved, and none is restarted for it.
    """
    pinned = {REVISIONS[role]: commit for role, commit in made.revisions.items()}
    return build(
        "v1",
        "ConfigMap",
        embedder,
        name=child_name(embedder.name, made.fingerprint),
        labels=of_track(embedder.name, made.fingerprint),
        annotations={RECORD: record.write(made)},
        data={**made.settings, **pinned},
    )
