"""Makes the cluster's keys and certificates. They live as long as the cluster does."""

import base64
import datetime as dt
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = dt.timedelta(days=30)


@dataclass(frozen=True)
class Identity:
    """A key and its certificate, as files."""

    certificate: Path
    key: Path


class Authority:
    """The cluster's certificate authority, kept in a folder."""

    def __init__(self, folder: Path) -> None:
        """Read the authority in `folder`, or found it there."""
        self._folder = folder
        self.certificate = folder / "ca.crt"
        self.key = folder / "ca.key"
        if not self.certificate.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self._found()

    def issue(
        self, name: str, subject: str, group: str = "", names: Sequence[str] = ()
    ) -> Identity:
        """A certificate for client and server use; `names` are host names and addresses."""
        identity = Identity(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        if identity.certificate.exists():
            return identity
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        request = _blank(_name(subject, group), self._issuer().subject, key.public_key())
        request = request.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if names:
            listed = x509.SubjectAlternativeName([_general_name(one) for one in names])
            request = request.add_extension(listed, critical=False)
        _write_key(identity.key, key)
        _write(identity.certificate, request.sign(self._private_key(), hashes.SHA256()))
        return identity

    def signing_key(self, name: str) -> Path:
        """A bare key, for service account tokens."""
        path = self._folder / f"{name}.key"
        if not path.exists():
            _write_key(path, ec.generate_private_key(ec.SECP256R1()))
        return path

    def _found(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("cluster authority")
        certificate = _blank(name, name, key.public_key())
        certificate = certificate.add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        _write_key(self.key, key)
        _write(self.certificate, certificate.sign(key, hashes.SHA256()))

    def _issuer(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())

    def _private_key(self) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key(self.key.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key


def write_kubeconfig(path: Path, server: str, authority: Authority, identity: Identity) -> Path:
    """A kubeconfig that carries its certificates inside, so that it can be copied anywhere."""
    cluster = {"server": server, "certificate-authority-data": _inline(authority.certificate)}
    user = {
        "client-certificate-data": _inline(identity.certificate),
        "client-key-data": _inline(identity.key),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "embedded", "cluster": cluster}],
        "users": [{"name": "embedded", "user": user}],
        "contexts": [{"name": "embedded", "context": {"cluster": "embedded", "user": "embedded"}}],
        "current-context": "embedded",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return path


def _blank(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
    )


def _name(subject: str, group: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, subject)]
    if group:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(parts)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            # The form in which the API server reads the key of its tokens.
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


def _write(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _inline(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
