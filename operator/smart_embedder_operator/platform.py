"""What the operator was told at its start and what its cluster can do. Knows no Embedder.

Built by `app` from the settings, kept up to date by `cluster`, passed into every pure function.
"""

from msgspec import Struct, field

from smart_embedder_operator.profiles import DEFAULT_PROFILES, Profile


class Images(Struct, frozen=True, kw_only=True):
    """The service's images of this release, by what they run on."""

    cpu: str
    cuda: str


class Capabilities(Struct, frozen=True, kw_only=True):
    """Which optional kinds this cluster serves, discovered by resource and looked up again."""

    service_monitor: bool = False
    prometheus_rule: bool = False
    scaled_object: bool = False
    http_route: bool = False
    custom_metrics: bool = False
    """Somebody, we or another, answers custom.metrics.k8s.io."""
    open_shift: bool = False
    """Security context constraints assign user ids, so the pods name none."""


class Platform(Struct, frozen=True, kw_only=True):
    """The operator's own settings, as far as they shape objects and messages."""

    version: str
    namespace: str
    """Where the operator runs: its pods may read the metrics."""
    images: Images
    profiles: dict[str, Profile] = field(default_factory=lambda: dict(DEFAULT_PROFILES))
    drain_delay_seconds: int = 5
    pull_secrets: tuple[str, ...] = ()
    """Pull secrets that every pod gets besides the Embedder's own."""
    ipv6: bool = False
    """Pods have IPv6 addresses first or only, so they listen on both families."""
    cluster_domain: str = "cluster.local"
    docs: str = "https://github.com/smart-embedder/smart-embedder/blob/main/docs"
    """Where messages send their reader."""
    capabilities: Capabilities = Capabilities()
