"""The Services of an Embedder: one to call, one to scrape, one to look at each track by. Pure."""

from smart_embedder_operator import record
from smart_embedder_operator.labels import COMPONENT, RECORD, common, selector, track_selector
from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.record import Record
from smart_embedder_operator.resources.config import METRICS_PORT
from smart_embedder_operator.resources.context import Context
from smart_embedder_operator.resources.manifest import build, present
from smart_embedder_operator.spec import Embedder
from smart_embedder_operator.tracks import child_name

METRICS = {COMPONENT: "metrics"}
"""What tells the metrics Service from the others."""


def endpoint(embedder: Embedder, cluster_domain: str) -> str:
    """The address within the cluster."""
    host = f"{embedder.name}.{embedder.namespace}.svc.{cluster_domain}"
    return f"http://{host}:{embedder.spec.service.port}"


def service(embedder: Embedder, context: Context) -> Manifest:
    """The Service that callers use: it selects one track, never two."""
    asked = embedder.spec.service
    return build(
        "v1",
        "Service",
        embedder,
        name=embedder.name,
        labels=asked.labels | common(embedder.name),
        annotations=asked.annotations,
        spec=present(
            type=asked.type,
            ipFamilyPolicy=asked.ip_family_policy,
            selector=track_selector(embedder.name, context.plan.serving.fingerprint),
            ports=[_http(embedder)],
        ),
    )


def metrics_service(embedder: Embedder) -> Manifest:
    """A headless Service with the metrics port, of pods that are still loading too."""
    return build(
        "v1",
        "Service",
        embedder,
        name=f"{embedder.name}-metrics",
        labels=common(embedder.name) | METRICS,
        spec={
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(embedder.name),
            "ports": [
                {
                    "name": "metrics",
                    "port": METRICS_PORT,
                    "targetPort": "metrics",
                    "protocol": "TCP",
                }
            ],
        },
    )


def preview_service(embedder: Embedder, made: Record) -> Manifest:
    """One track by itself, while there is more than one.

    It holds a copy of the record: without the ConfigMap nobody would know any more what a track
    was made from that the spec does not ask for.
    """
    return build(
        "v1",
        "Service",
        embedder,
        name=preview_name(embedder.name, made.fingerprint),
        labels=common(embedder.name) | {COMPONENT: "preview"},
        annotations={RECORD: record.write(made)},
        spec={
            "type": "ClusterIP",
            "selector": track_selector(embedder.name, made.fingerprint),
            "ports": [_http(embedder)],
        },
    )


def preview_name(name: str, fingerprint: str) -> str:
    """How the Service of one track is called."""
    return f"{child_name(name, fingerprint)}-preview"


def _http(embedder: Embedder) -> Manifest:
    return {
        "name": "http",
        "port": embedder.spec.service.port,
        "targetPort": "http",
        "protocol": "TCP",
        "appProtocol": "http",
    }
