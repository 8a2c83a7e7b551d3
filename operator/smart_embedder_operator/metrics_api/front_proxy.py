"""Whom the cluster uses as its front proxy: the authority and the names in one ConfigMap.

Every kube-apiserver publishes them in kube-system/extension-apiserver-authentication, for
servers like ours to verify who forwards requests to them.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from smart_embedder_operator.kube import Kube, Resource

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"


class NoFrontProxy(Exception):
    """The cluster runs without an aggregation layer, so nobody could ask us."""


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """Who may forward requests to us."""

    authority: str
    """PEM of the certificates that sign the front proxy's."""
    names: frozenset[str]
    """Its common names; empty allows any that the authority signed."""


async def read_front_proxy(kube: Kube) -> FrontProxy:
    """Read the cluster's answer; raise `NoFrontProxy` when it has none."""
    data = (await kube.get(CONFIG_MAPS, NAME, NAMESPACE)).get("data") or {}
    authority = data.get("requestheader-client-ca-file")
    if not authority:
        raise NoFrontProxy(f"ConfigMap {NAMESPACE}/{NAME} names no request-header authority")
    names = msgspec.json.decode(data.get("requestheader-allowed-names") or "[]", type=list[str])
    return FrontProxy(authority, frozenset(names))


def common_names(peer: dict[str, Any]) -> frozenset[str]:
    """The common names in a certificate as Python's ssl shows it."""
    return frozenset(
        value for part in peer.get("subject", ()) for key, value in part if key == "commonName"
    )
