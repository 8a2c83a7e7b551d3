"""The serving certificate of the metrics API: made, judged and renewed.

Each certificate comes with an authority made for it alone, whose key is thrown away at once:
nobody, we included, can sign anything else that the API server would trust. A renewal keeps the
previous authority in the bundle, so that both certificates are trusted while replicas change
over. Pure but for the clock and the random numbers; where they are kept, `certificate_store` knows.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=90)
RENEW_BEFORE = timedelta(days=30)  # a third of the life is left to mend a renewal that fails
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM texts of a serving certificate, its key, and the authorities to trust it by."""

    chain: str
    key: str
    authorities: str

    def trusts(self, earlier: "Certificate") -> bool:
        """Whether who trusts our authorities still trusts an earlier certificate."""
        first, end, _ = earlier.authorities.partition("-----END CERTIFICATE-----")
        return first + end in self.authorities

    def usable(self, names: tuple[str, ...], now: datetime) -> bool:
        """Whether it is for these names and will not end before long."""
        try:
            leaf = x509.load_pem_x509_certificate(self.chain.encode())
            alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except (ValueError, x509.ExtensionNotFound):
            return False
        certified = set(alternative.value.get_values_for_type(x509.DNSName))
        return set(names) <= certified and leaf.not_valid_after_utc - RENEW_BEFORE > now


def new_certificate(
    names: tuple[str, ...], now: datetime, previous: Certificate | None = None
) -> Certificate:
    """Make a certificate for these names, signed by an authority of its own."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    # A name of its own: of two authorities with one name, verifiers may try only the first.
    issuer = _name(f"smart-embedder metrics API {x509.random_serial_number():x}"[:64])
    authority = (
        _builder(issuer, issuer, authority_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    leaf = (
        _builder(_name(names[0][:64]), issuer, key.public_key(), now)
        .add_extension(x509.SubjectAlternativeName(map(x509.DNSName, names)), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    kept = _last_authority(previous, now) if previous is not None else ""
    return Certificate(
        chain=_pem(leaf),
        key=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        authorities=_pem(authority) + kept,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
    )


def _last_authority(previous: Certificate, now: datetime) -> str:
    """The authority of the certificate before this one, while it is valid."""
    try:
        authorities = x509.load_pem_x509_certificates(previous.authorities.encode())
    except ValueError:
        return ""
    return _pem(authorities[0]) if authorities[0].not_valid_after_utc > now else ""


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def utc_now() -> datetime:
    """The clock certificates are judged by."""
    return datetime.now(UTC)
