"""The documents of custom.metrics.k8s.io, both versions of it: pure data in, JSON out.

Shapes and spellings are those of k8s.io/metrics (v1beta1 says `metricName` and `window` where
v1beta2 says `metric` and `windowSeconds`).
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from smart_embedder_operator.metrics_api.exposition import METRICS
from smart_embedder_operator.metrics_api.pods import ScrapedPod
from smart_embedder_operator.metrics_api.scrape import Sample

GROUP = "custom.metrics.k8s.io"
VERSIONS = ("v1beta2", "v1beta1")  # the preferred one first

Document = dict[str, Any]


def group_list() -> Document:
    """`/apis`: the one group we serve."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [api_group()]}


def api_group() -> Document:
    """`/apis/custom.metrics.k8s.io`: its versions."""
    versions = [{"groupVersion": f"{GROUP}/{version}", "version": version} for version in VERSIONS]
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": GROUP,
        "versions": versions,
        "preferredVersion": versions[0],
    }


def resource_list(version: str) -> Document:
    """`/apis/custom.metrics.k8s.io/VERSION`: the metrics there are."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{GROUP}/{version}",
        "resources": [
            {
                "name": f"pods/{metric}",
                "singularName": "",
                "namespaced": True,
                "kind": "MetricValueList",
                "verbs": ["get"],
            }
            for metric in METRICS
        ],
    }


def value_list(version: str, metric: str, found: Iterable[tuple[ScrapedPod, Sample]]) -> Document:
    """The values of one metric, one a pod."""
    return {
        "kind": "MetricValueList",
        "apiVersion": f"{GROUP}/{version}",
        "metadata": {},
        "items": [_value(version, metric, pod, sample) for pod, sample in found],
    }


def failure(code: int, reason: str, message: str) -> Document:
    """A refusal as API servers word it."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def quantity(value: float) -> str:
    """A number as a Kubernetes quantity, exact to a thousandth."""
    thousandths = round(Decimal(value) * 1000)
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def _value(version: str, metric: str, pod: ScrapedPod, sample: Sample) -> Document:
    named: Document = (
        {"metricName": metric, "selector": None, "window": 0}
        if version == "v1beta1"
        else {"metric": {"name": metric, "selector": None}, "windowSeconds": 0}
    )
    # A window of 0 says: read at that moment, not computed over a while.
    return {
        "describedObject": {
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
            "apiVersion": "/v1",
        },
        "timestamp": sample.taken.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "value": quantity(sample.values[metric]),
        **named,
    }
