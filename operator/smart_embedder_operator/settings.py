"""What the operator process can be told, read once from the environment.

Every field of `Settings` is one variable of the same name in capitals (`watch_namespaces` is
`WATCH_NAMESPACES`), also accepted with the prefix `SMART_EMBEDDER_`. Within that prefix a name
that means nothing is an error, so that a typo is seen at start and not in production. What
stands in an Embedder is no business of this file.
"""

import re
from collections.abc import Mapping

import msgspec

PREFIX = "SMART_EMBEDDER_"
# Kubernetes injects NAME_SERVICE_HOST, NAME_PORT_8000_TCP_ADDR … for every Service in reach.
_SERVICE_LINK = re.compile(
    r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$"
)
_LISTS = frozenset({"watch_namespaces", "pull_secrets"})


class SettingsError(Exception):
    """A variable is misspelt or has a value that cannot be used."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's own configuration; each comment is what the variable means."""

    # Where it works.
    watch_namespaces: tuple[str, ...] = ()  # empty: the whole cluster
    pod_name: str = "smart-embedder-operator"  # this replica's identity in the Lease
    pod_namespace: str = "default"  # where the Lease and the certificate live
    lease_name: str = "smart-embedder-operator"
    deployment: str | None = None  # ours; the Lease and the certificate hang on it
    # What it builds.
    default_image: str = "smart-embedder:latest"  # the service of this release
    gpu_image: str | None = None  # the same for GPUs; unset takes the one above
    pull_secrets: tuple[str, ...] = ()  # for every pod, besides the Embedder's own
    profiles_file: str | None = None  # YAML of named hardware profiles
    cluster_domain: str = "cluster.local"
    kubernetes_service_host: str = ""  # Kubernetes says it to every pod; tells IPv6 clusters
    # How hard it works.
    workers: int = 8  # Embedders reconciled at the same time
    resync_seconds: float = 600.0  # each Embedder is looked at again after this, jittered
    # The metrics API.
    metrics_api: bool = False
    metrics_api_port: int = 8443
    metrics_api_service: str = "smart-embedder-operator"  # the Service the APIService points at
    metrics_api_service_port: int = 443
    metrics_api_secret: str = "smart-embedder-metrics-api"  # noqa: S105 - a name, not a password
    metrics_api_cert_dir: str | None = None  # cert-manager's tls.crt, tls.key and ca.crt, mounted
    metrics_api_owner: str | None = None  # the chart's ClusterRole, owner of the APIService
    scrape_seconds: float = 5.0  # how often every pod's queue is read
    # Where it is looked at.
    host: str = ""  # empty: every address of the family that the cluster's own Service has
    metrics_port: int = 8080
    probe_port: int = 8081
    log_level: str = "INFO"
    json_output: bool = True

    @property
    def ipv6(self) -> bool:
        """Whether pods have IPv6 addresses first or only, as the cluster's own Service has."""
        return ":" in self.kubernetes_service_host

    @property
    def address(self) -> str:
        """Where its ports listen."""
        return self.host or ("::" if self.ipv6 else "0.0.0.0")  # noqa: S104 - a pod's own address


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings; raise `SettingsError` for a typo or an unusable value."""
    names = {field.upper(): field for field in Settings.__struct_fields__}
    values: dict[str, object] = {}
    for variable, text in environ.items():
        bare = variable.removeprefix(PREFIX)
        if bare in names:
            values[names[bare]] = _split(text) if names[bare] in _LISTS else text
        elif bare != variable and not _SERVICE_LINK.search(variable):
            raise SettingsError(f"{variable} is not a setting of the operator; is it a typo?")
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(str(error)) from error


def _split(text: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[,\s]+", text) if part)
