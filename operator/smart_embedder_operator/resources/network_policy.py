"""The NetworkPolicy: API, metrics, DNS, traces and downloads, each by itself. Pure.

The kubelet's probes need no rule: they come from the pod's own node, which every network plugin
lets through.
"""

from urllib.parse import urlsplit

from smart_embedder_operator.labels import EMBEDDER
from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.platform import Platform
from smart_embedder_operator.resources.config import METRICS_PORT, PORT
from smart_embedder_operator.resources.context import Context
from smart_embedder_operator.resources.manifest import build, plain, present
from smart_embedder_operator.spec import Embedder, Spec
from smart_embedder_operator.spec.network import Peers

_NAMESPACE_NAME = "kubernetes.io/metadata.name"
_DNS: Manifest = {"ports": [{"protocol": p, "port": 53} for p in ("UDP", "TCP")]}


def network_policy(embedder: Embedder, context: Context) -> Manifest:
    """One policy over every pod of the Embedder, downloading ones included."""
    return build(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        embedder,
        name=embedder.name,
        spec={
            "podSelector": {"matchLabels": {EMBEDDER: embedder.name}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": _ingress(embedder.spec, context.platform),
            "egress": _egress(embedder.spec),
        },
    )


def _ingress(spec: Spec, platform: Platform) -> list[Manifest]:
    policy = spec.network_policy
    scrapers = _peers(policy.metrics_from)
    if scrapers:
        here = {"matchLabels": {_NAMESPACE_NAME: platform.namespace}}
        scrapers = [{"namespaceSelector": here}, *scrapers]
    return [
        present(**{"from": _peers(policy.allow_from)}, ports=_tcp(PORT)),
        present(**{"from": scrapers}, ports=_tcp(METRICS_PORT)),
    ]


def _egress(spec: Spec) -> list[Manifest]:
    policy = spec.network_policy
    if policy.egress == "All":
        return [{}]
    rules = [_DNS]
    if spec.tracing is not None:
        rules.append({"ports": _tcp(_port(spec.tracing.endpoint))})
    if policy.egress == "Hub" and not spec.hub.offline:
        rules.append(present(to=_peers(policy.egress_to), ports=_tcp(*_download_ports(spec))))
    return rules


def _download_ports(spec: Spec) -> list[int]:
    """The web's two, and those that a mirror or a proxy names."""
    proxies = (spec.proxy.http, spec.proxy.https) if spec.proxy is not None else ()
    named = [_port(url) for url in (spec.hub.endpoint, *proxies) if url is not None]
    return sorted({80, 443, *named})


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _tcp(*ports: int) -> list[Manifest]:
    return [{"protocol": "TCP", "port": port} for port in ports]


def _peers(peers: Peers) -> list[Manifest]:
    written: list[Manifest] = plain(peers)
    return written
