"""How an Embedder is reached: Service, token, route, and who may come in and go out."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from smart_embedder_operator.spec.fields import (
    HOSTNAME,
    Label,
    Metadata,
    Name,
    Piece,
    Port,
    Rule,
    Selector,
    says,
)
from smart_embedder_operator.spec.models import SecretKey


class ServiceSpec(Piece, frozen=True, kw_only=True):
    """The Service in front of the pods."""

    type: Annotated[Literal["ClusterIP", "NodePort", "LoadBalancer"], says("Kind of Service.")] = (
        "ClusterIP"
    )
    port: Annotated[Port, says("Port of the Service; the pods listen on 8000.")] = 8000
    annotations: Annotated[Metadata, says("Annotations of the Service.")] = field(
        default_factory=dict
    )
    labels: Annotated[Metadata, says("Labels of the Service, besides ours.")] = field(
        default_factory=dict
    )
    ip_family_policy: Annotated[
        Literal["SingleStack", "PreferDualStack", "RequireDualStack"] | None,
        says("IP families of the Service. Unset follows the cluster."),
    ] = None


class Auth(Piece, frozen=True, kw_only=True):
    """Who may call the API."""

    secret_ref: Annotated[
        SecretKey, says("Secret entry with the bearer token that callers must send.")
    ]


class ParentRef(Piece, frozen=True, kw_only=True):
    """A Gateway that the route hangs on."""

    name: Annotated[Name, says("Name of the Gateway.")]
    namespace: Annotated[Label | None, says("Its namespace, when it is another.")] = None
    section_name: Annotated[Name | None, says("One listener of it.")] = None
    port: Annotated[Port | None, says("One port of it.")] = None


Hostname = Annotated[str, Meta(min_length=1, max_length=253, pattern=HOSTNAME)]


class Route(Piece, frozen=True, kw_only=True):
    """An HTTPRoute of the Gateway API."""

    parent_refs: Annotated[
        Annotated[tuple[ParentRef, ...], Meta(min_length=1, max_length=16)],
        says("The Gateways that carry the route."),
    ]
    hostnames: Annotated[
        Annotated[tuple[Hostname, ...], Meta(max_length=16)],
        says("Host names it answers to. None means all of the Gateway's."),
    ] = ()
    annotations: Annotated[Metadata, says("Annotations of the HTTPRoute.")] = field(
        default_factory=dict
    )


class LabelSelector(Piece, frozen=True, kw_only=True):
    """Objects by their labels."""

    match_labels: Annotated[Selector, says("Labels that must be there.")] = field(
        default_factory=dict
    )


class IpBlock(Piece, frozen=True, kw_only=True):
    """A network by its addresses."""

    cidr: Annotated[Annotated[str, Meta(max_length=64)], says("The network, 10.0.0.0/8 say.")]
    except_: Annotated[
        Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=16)],
        says("Networks within it that are left out."),
    ] = field(default=(), name="except")


class Peer(Piece, frozen=True, kw_only=True):
    """Pods, namespaces or a network, as in NetworkPolicy."""

    pod_selector: Annotated[LabelSelector | None, says("Pods by label.")] = None
    namespace_selector: Annotated[LabelSelector | None, says("Namespaces by label.")] = None
    ip_block: Annotated[IpBlock | None, says("A network; alone, without selectors.")] = None

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.ipBlock) != (has(self.podSelector) || has(self.namespaceSelector))",
            "a peer is an ipBlock, or a podSelector and/or namespaceSelector",
            lambda peer: (
                (peer.ip_block is not None)
                != (peer.pod_selector is not None or peer.namespace_selector is not None)
            ),
        ),
    )


Peers = Annotated[tuple[Peer, ...], Meta(max_length=32)]


class NetworkPolicySpec(Piece, frozen=True, kw_only=True):
    """What the network lets through to the pods and from them."""

    enabled: Annotated[bool, says("Whether there is a NetworkPolicy.")] = True
    allow_from: Annotated[
        Peers, says("Who may call the API. None means everyone in the cluster.")
    ] = ()
    metrics_from: Annotated[
        Peers,
        says("Who may read the metrics, besides the operator. None means everyone in the cluster."),
    ] = ()
    egress: Annotated[
        Literal["Hub", "None", "All"],
        says(
            "Where the pods may go, besides DNS and the trace collector: Hub lets them reach web "
            "ports for downloads (nothing when hub.offline is true), None nothing, All everything."
        ),
    ] = "Hub"
    egress_to: Annotated[Peers, says("Narrows Hub to these peers: your mirror or your proxy.")] = ()


class Availability(Piece, frozen=True, kw_only=True):
    """How the pods hold out when nodes go."""

    pdb: Annotated[
        Literal["Auto", "Enabled", "Disabled"],
        says(
            "PodDisruptionBudget: one pod at a time, and never one that blocks a drain. Auto makes "
            "it where there can be two pods or more."
        ),
    ] = "Auto"
    spread: Annotated[
        Literal["Preferred", "Required", "Disabled"],
        says(
            "Spread the pods: Preferred over nodes and zones where it can be, Required never two "
            "more on one node than on another, Disabled not at all."
        ),
    ] = "Preferred"


class Monitoring(Piece, frozen=True, kw_only=True):
    """Objects for the Prometheus operator."""

    service_monitor: Annotated[
        Literal["Auto", "Enabled", "Disabled"],
        says("ServiceMonitor. Auto makes it where the cluster knows the kind."),
    ] = "Auto"
    prometheus_rule: Annotated[
        Literal["Auto", "Enabled", "Disabled"],
        says("PrometheusRule with alerts. Auto makes it where the cluster knows the kind."),
    ] = "Auto"
    labels: Annotated[
        Metadata, says("Labels by which your Prometheus selects them, {release: prometheus} say.")
    ] = field(default_factory=dict)
    interval: Annotated[
        Annotated[str, Meta(max_length=8, pattern="^[0-9]+(s|m)$")],
        says("How often to scrape."),
    ] = "15s"
