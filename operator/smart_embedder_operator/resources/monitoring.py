"""What the Prometheus operator needs to scrape an Embedder and to warn about it. Pure."""

import re
from typing import Literal

from msgspec import Struct

from smart_embedder_operator.labels import EMBEDDER, TRACK, common
from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.resources.manifest import build
from smart_embedder_operator.resources.service import METRICS
from smart_embedder_operator.spec import Embedder

API = "monitoring.coreos.com/v1"


def wanted(wish: Literal["Auto", "Enabled", "Disabled"], *, installed: bool) -> bool:
    """Whether to make an object of a kind that may not exist here; asked for in vain is told."""
    return installed and wish != "Disabled"


def service_monitor(embedder: Embedder) -> Manifest:
    """Scrapes the metrics Service; series carry the Embedder and the track."""
    monitoring = embedder.spec.monitoring
    return build(
        API,
        "ServiceMonitor",
        embedder,
        name=embedder.name,
        labels=monitoring.labels | common(embedder.name),
        spec={
            "selector": {"matchLabels": {EMBEDDER: embedder.name, **METRICS}},
            "endpoints": [
                {
                    "port": "metrics",
                    "path": "/metrics",
                    "interval": monitoring.interval,
                    "relabelings": [_relabel(EMBEDDER, "embedder"), _relabel(TRACK, "track")],
                }
            ],
        },
    )


def _relabel(pod_label: str, label: str) -> Manifest:
    """Give series the label that the dashboards and alerts of the chart group by."""
    source = re.sub(r"[^a-zA-Z0-9_]", "_", pod_label)
    return {"sourceLabels": [f"__meta_kubernetes_pod_label_{source}"], "targetLabel": label}


def prometheus_rule(embedder: Embedder) -> Manifest:
    """What its own team wants to hear; errors and the operator's health are the chart's alerts."""
    return build(
        API,
        "PrometheusRule",
        embedder,
        name=embedder.name,
        labels=embedder.spec.monitoring.labels | common(embedder.name),
        spec={
            "groups": [
                {
                    "name": f"embedder.{embedder.namespace}.{embedder.name}",
                    "rules": [_rule(embedder, alert) for alert in _ALERTS],
                }
            ]
        },
    )


class Alert(Struct, frozen=True, kw_only=True):
    """One alert; {series} becomes the matcher of the Embedder's own series."""

    name: str
    expr: str
    hold: str
    severity: Literal["warning", "critical"]
    summary: str
    advice: str


_ALERTS = (
    Alert(
        name="EmbedderDown",
        expr="absent(up{series} == 1)",
        hold="5m",
        severity="critical",
        summary="no pod of Embedder {name} answers its metrics port",
        advice="kubectl describe embedder tells the cause under Ready and what to do about it.",
    ),
    Alert(
        # Every pod, not one: a new pod has not got its share of the load yet.
        name="EmbedderOverloaded",
        expr="min(smart_embedder_estimated_drain_seconds{series}) > 10",
        hold="10m",
        severity="warning",
        summary="every pod of Embedder {name} has had ten seconds of work queued for ten minutes",
        advice="Raise spec.autoscaling.maxReplicas or spec.replicas, or use the bulk lane.",
    ),
)


def _rule(embedder: Embedder, alert: Alert) -> Manifest:
    series = f'{{namespace="{embedder.namespace}",service="{embedder.name}-metrics"}}'
    return {
        "alert": alert.name,
        "expr": alert.expr.replace("{series}", series),
        "for": alert.hold,
        "labels": {"severity": alert.severity, "embedder": embedder.name},
        "annotations": {
            "summary": alert.summary.format(name=f"{embedder.namespace}/{embedder.name}"),
            "description": alert.advice,
        },
    }
