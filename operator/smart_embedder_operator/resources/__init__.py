"""Everything an Embedder becomes: `desired` names the objects, one pure builder file per kind.

Deterministic: equal inputs, equal objects. The order is the order to apply them in; the Service
stands before the Deployments, so that a flip is done before an old track is taken away.
"""

from collections.abc import Iterator

from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.record import Record
from smart_embedder_operator.resources import cache, config, deployment, service
from smart_embedder_operator.resources.context import Context
from smart_embedder_operator.resources.hpa import hpa
from smart_embedder_operator.resources.keda import scaled_object
from smart_embedder_operator.resources.manifest import build
from smart_embedder_operator.resources.monitoring import (
    prometheus_rule,
    service_monitor,
    wanted,
)
from smart_embedder_operator.resources.network_policy import network_policy
from smart_embedder_operator.resources.pdb import pdb, wants_pdb
from smart_embedder_operator.resources.replicas import replicas
from smart_embedder_operator.resources.route import http_route
from smart_embedder_operator.spec import Embedder
from smart_embedder_operator.tracks import Track

__all__ = ["Context", "desired", "replicas"]


def desired(embedder: Embedder, context: Context) -> list[Manifest]:
    """Every object that shall exist for the Embedder."""
    return [
        _service_account(embedder),
        *_network(embedder, context),
        *(item for track in context.plan.tracks for item in _track(embedder, context, track)),
        *_scaling(embedder, context),
        *_monitoring(embedder, context),
    ]


def _service_account(embedder: Embedder) -> Manifest:
    return build(
        "v1",
        "ServiceAccount",
        embedder,
        name=embedder.name,
        automountServiceAccountToken=False,
    )


def _network(embedder: Embedder, context: Context) -> Iterator[Manifest]:
    spec = embedder.spec
    if spec.network_policy.enabled:
        yield network_policy(embedder, context)
    yield service.service(embedder, context)
    yield service.metrics_service(embedder)
    if spec.route is not None and context.platform.capabilities.http_route:
        yield http_route(embedder, spec.route)


def _track(embedder: Embedder, context: Context, track: Track) -> Iterator[Manifest]:
    made = deployment.made(embedder, context, track)
    yield config.config_map(embedder, made)
    if len(context.plan.tracks) > 1:
        yield service.preview_service(embedder, made)
    if embedder.spec.cache.type == "PVC":
        yield cache.claim(embedder, track.fingerprint)
    job = _prewarm(embedder, track, made)
    if job is not None:
        if not cache.is_spent(job, context.observed):
            yield job
        if not cache.may_start(embedder, track.fingerprint, job, context.observed):
            return
    yield deployment.deployment(embedder, context, made)


def _prewarm(embedder: Embedder, track: Track, made: Record) -> Manifest | None:
    if not embedder.spec.cache.prewarm:
        return None
    return cache.prewarm(embedder, track.fingerprint, made.template)


def _scaling(embedder: Embedder, context: Context) -> Iterator[Manifest]:
    mode = embedder.spec.autoscaling.mode
    if mode == "HPA":
        yield hpa(embedder, context)
    if mode == "KEDA" and context.platform.capabilities.scaled_object:
        yield scaled_object(embedder, context)
    if wants_pdb(embedder, context):
        yield pdb(embedder)


def _monitoring(embedder: Embedder, context: Context) -> Iterator[Manifest]:
    wish, known = embedder.spec.monitoring, context.platform.capabilities
    if wanted(wish.service_monitor, installed=known.service_monitor):
        yield service_monitor(embedder)
    if wanted(wish.prometheus_rule, installed=known.prometheus_rule):
        yield prometheus_rule(embedder)
