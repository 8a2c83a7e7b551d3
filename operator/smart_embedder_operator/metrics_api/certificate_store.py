"""Where the serving certificate is kept: in one Secret of ours, or in files of cert-manager's.

Every replica reads the same place, so all of them serve what the APIService trusts. What a
certificate is made of, `certificates` knows.
"""

import base64
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

from smart_embedder_operator.kube import Conflict, Kube, Manifest, NotFound, Resource
from smart_embedder_operator.metrics_api.certificates import Certificate, new_certificate, utc_now
from smart_embedder_operator.ownership import new_metadata

SECRETS = Resource("", "v1", "secrets", "Secret")
_CHAIN, _KEY, _AUTHORITIES = "tls.crt", "tls.key", "ca.crt"

log = structlog.get_logger()


class CertificateStore(Protocol):
    """A place that holds the certificate now in force."""

    async def current(self) -> Certificate:
        """Read it, and renew it where that is our task."""
        ...


class MountedFiles:
    """Files that cert-manager, or a person, keeps up to date."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def current(self) -> Certificate:
        chain, key, authorities = (
            (self._folder / name).read_text() for name in (_CHAIN, _KEY, _AUTHORITIES)
        )
        return Certificate(chain, key, authorities)


class OwnSecret:
    """The one Secret our Role names: any replica makes, fills and renews it."""

    def __init__(
        self,
        kube: Kube,
        *,
        namespace: str,
        name: str,
        dns_names: tuple[str, ...],
        deployment: str | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._kube = kube
        self._deployment = deployment
        self._namespace = namespace
        self._name = name
        self._dns_names = dns_names
        self._now = now

    async def current(self) -> Certificate:
        secret = await self._secret()
        held = _certificate(secret)
        if held is not None and held.usable(self._dns_names, self._now()):
            return held
        made = new_certificate(self._dns_names, self._now(), previous=held)
        try:
            await self._kube.replace(SECRETS, secret | {"data": _data(made)})
        except Conflict:
            log.info("another replica renewed the certificate first")
            return await self.current()
        log.info("made a serving certificate for the metrics API", names=self._dns_names)
        return made

    async def _secret(self) -> Manifest:
        try:
            return await self._kube.get(SECRETS, self._name, self._namespace)
        except NotFound:
            empty: Manifest = {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "Opaque",
                "metadata": await new_metadata(
                    self._kube, self._name, self._namespace, self._deployment
                ),
            }
            return await self._kube.create(SECRETS, empty)


def _certificate(secret: Manifest) -> Certificate | None:
    data = secret.get("data") or {}
    if not all(data.get(name) for name in (_CHAIN, _KEY, _AUTHORITIES)):
        return None
    return Certificate(
        *(base64.b64decode(data[name]).decode() for name in (_CHAIN, _KEY, _AUTHORITIES))
    )


def _data(certificate: Certificate) -> dict[str, str]:
    texts = (certificate.chain, certificate.key, certificate.authorities)
    return {
        name: base64.b64encode(text.encode()).decode()
        for name, text in zip((_CHAIN, _KEY, _AUTHORITIES), texts, strict=True)
    }
