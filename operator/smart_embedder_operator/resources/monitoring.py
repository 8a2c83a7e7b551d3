"""What the Prometheus operator needs to scrape an Embedder and to warn about it. Pure."""

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
            "podTargetLabels": [EMBEDDER, TRACK],
            "endpoints": [{"port": "metrics", "path": "/metrics", "interval": monitoring.interval}],
        },
    )


def prometheus_rule(embedder: Embedder, docs: str) -> Manifest:
    """The alerts of one Embedder."""
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
                    "rules": [_rule(embedder, docs, alert) for alert in _ALERTS],
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


# The thresholds are what a person would want to be called for: a request may take 30 s unless
# the Embedder says otherwise, so one that has waited for 60 means that nothing moves.
_ALERTS = (
    Alert(
        name="EmbedderDown",
        expr="absent(up{series} == 1)",
        hold="5m",
        severity="critical",
        summary="no pod of Embedder {name} answers its metrics port",
    ),
    Alert(
        name="EmbedderQueueStuck",
        expr="max(smart_embedder_oldest_wait_seconds{series}) > 60",
        hold="2m",
        severity="critical",
        summary="a request has waited for more than a minute in Embedder {name}",
    ),
    Alert(
        name="EmbedderOverloaded",
        expr="min(smart_embedder_estimated_drain_seconds{series}) > 10",
        hold="10m",
        severity="warning",
        summary="every pod of Embedder {name} has more than ten seconds of work queued",
    ),
)


def _rule(embedder: Embedder, docs: str, alert: Alert) -> Manifest:
    series = f'{{namespace="{embedder.namespace}",service="{embedder.name}-metrics"}}'
    return {
        "alert": alert.name,
        "expr": alert.expr.replace("{series}", series),
        "for": alert.hold,
        "labels": {"severity": alert.severity, "embedder": embedder.name},
        "annotations": {
            "summary": alert.summary.format(name=f"{embedder.namespace}/{embedder.name}"),
            "runbook_url": f"{docs}/troubleshooting.md#{alert.name.lower()}",
        },
    }
