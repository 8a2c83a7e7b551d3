"""The HTTPRoute that leads a Gateway to the Service, and who claims the same. Pure."""

from collections.abc import Iterator

from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.resources.manifest import build, plain, present
from smart_embedder_operator.spec import Embedder
from smart_embedder_operator.spec.network import Route


def http_route(embedder: Embedder, route: Route) -> Manifest:
    """Everything under / goes to the Embedder's Service."""
    backend = {"kind": "Service", "name": embedder.name, "port": embedder.spec.service.port}
    return build(
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        embedder,
        name=embedder.name,
        annotations=route.annotations,
        spec=present(
            parentRefs=plain(route.parent_refs),
            hostnames=list(route.hostnames),
            rules=[
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                    "backendRefs": [backend],
                }
            ],
        ),
    )


Claim = tuple[str, str, str, int, str]
"""Gateway namespace, Gateway, listener, port, host name."""


def claims(namespace: str, route: Manifest) -> Iterator[Claim]:
    """Every place on a Gateway that a written route asks for."""
    for parent in route.get("parentRefs") or ():
        place = (
            parent.get("namespace") or namespace,
            parent["name"],
            parent.get("sectionName") or "",
            parent.get("port") or 0,
        )
        for host in route.get("hostnames") or ("*",):
            yield (*place, host)
