"""Who we are to the API server: a pod's service account, or a kubeconfig on a developer's desk.

Only finding and reading credentials happens here; connections are made elsewhere.
"""

import base64
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class NoCredentials(Exception):
    """Neither a service account nor a usable kubeconfig was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An API server's address and the means to be let in."""

    server: str
    ca: str | None = None
    """PEM text of the authority that signed the server's certificate; None takes the system's."""
    token: str | None = None
    token_file: Path | None = None
    """A projected token; the kubelet renews it, so it is read again before it is used."""
    certificate: str | None = None
    certificate_key: str | None = None
    """PEM texts of a client certificate."""

    def bearer(self) -> str | None:
        """The token as it is now."""
        if self.token_file is not None:
            return self.token_file.read_text().strip()
        return self.token

    def ssl_context(self) -> ssl.SSLContext:
        """A context that trusts the server's authority and shows our certificate, if any."""
        context = ssl.create_default_context(cadata=self.ca)
        if self.certificate is not None and self.certificate_key is not None:
            load_pem(context, self.certificate, self.certificate_key)
        return context


def load_pem(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Give a context a certificate from PEM texts; Python's ssl reads them from files only."""
    with tempfile.TemporaryDirectory() as folder:
        certificate_file, key_file = Path(folder, "tls.crt"), Path(folder, "tls.key")
        certificate_file.write_text(certificate)
        key_file.touch(mode=0o600)
        key_file.write_text(key)
        context.load_cert_chain(certificate_file, key_file)


def find_credentials(
    environ: Mapping[str, str], service_account: Path = SERVICE_ACCOUNT
) -> Credentials:
    """KUBECONFIG when it is set, else the pod's service account, else `~/.kube/config`."""
    if path := environ.get("KUBECONFIG"):
        return from_kubeconfig(Path(path))
    if host := environ.get("KUBERNETES_SERVICE_HOST"):
        return from_service_account(
            host, environ.get("KUBERNETES_SERVICE_PORT", "443"), service_account
        )
    home = Path(environ.get("HOME", "/")) / ".kube" / "config"
    if home.exists():
        return from_kubeconfig(home)
    raise NoCredentials("not in a pod, and neither KUBECONFIG nor ~/.kube/config is there")


def from_service_account(host: str, port: str, folder: Path) -> Credentials:
    """The credentials Kubernetes mounts into every pod that asks for them."""
    address = f"[{host}]" if ":" in host else host
    return Credentials(
        server=f"https://{address}:{port}",
        ca=(folder / "ca.crt").read_text(),
        token_file=folder / "token",
    )


def from_kubeconfig(path: Path) -> Credentials:
    """The current context of a kubeconfig, with tokens or client certificates (no exec plugins)."""
    config = yaml.safe_load(path.read_text()) or {}
    context = _named(config, "contexts", config.get("current-context"), "context", path)
    cluster = _named(config, "clusters", context.get("cluster"), "cluster", path)
    user = _named(config, "users", context.get("user"), "user", path)
    if "exec" in user or "auth-provider" in user:
        raise NoCredentials(f"{path}: login plugins are not supported; use a token or certificate")
    return Credentials(
        server=cluster["server"].rstrip("/"),
        ca=_text(cluster, "certificate-authority", path),
        token=user.get("token"),
        token_file=path.parent / user["tokenFile"] if "tokenFile" in user else None,
        certificate=_text(user, "client-certificate", path),
        certificate_key=_text(user, "client-key", path),
    )


def _named(config: Any, section: str, name: object, key: str, path: Path) -> dict[str, Any]:
    for entry in config.get(section) or []:
        if entry.get("name") == name:
            return dict(entry.get(key) or {})
    raise NoCredentials(f"{path}: {section} has no entry named {name!r}")


def _text(entry: dict[str, Any], key: str, path: Path) -> str | None:
    if data := entry.get(f"{key}-data"):
        return base64.b64decode(data).decode()
    if key in entry:
        return path.parent.joinpath(entry[key]).read_text()
    return None
