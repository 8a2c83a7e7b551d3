"""The TLS port of the metrics API, kept in step with its certificate and the front proxy's.

Python's ssl cannot take an authority back from a context, so a change of either opens the port
anew with a fresh context, the new socket beside the old one: no connection is refused between.
"""

import asyncio
import ssl
import time
from dataclasses import dataclass

import aiohttp
import structlog
from aiohttp import web

from smart_embedder_operator.credentials import load_pem
from smart_embedder_operator.kube import Kube, KubeError
from smart_embedder_operator.metrics_api.certificate_store import CertificateStore
from smart_embedder_operator.metrics_api.certificates import Certificate
from smart_embedder_operator.metrics_api.front_proxy import (
    FrontProxy,
    NoFrontProxy,
    read_front_proxy,
)
from smart_embedder_operator.metrics_api.server import HEALTH

CHECK_SECONDS = 15.0
# A renewed certificate is served only when the APIService has had time to trust its authority.
TRUST_SECONDS = 60.0
FAREWELL_SECONDS = 2.0  # for answers under way when we stop; each takes milliseconds

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Identity:
    """What a context is made of."""

    certificate: Certificate
    front_proxy: FrontProxy


class Listener:
    """Serves an application over TLS while the cluster gives us what that needs."""

    def __init__(
        self,
        kube: Kube,
        store: CertificateStore,
        *,
        host: str,
        port: int,
        check_seconds: float = CHECK_SECONDS,
        trust_seconds: float = TRUST_SECONDS,
    ) -> None:
        self._kube = kube
        self._store = store
        self._host = host
        self._port = port
        self._check_seconds = check_seconds
        self._trust_seconds = trust_seconds
        self._served: Identity | None = None
        self._renewed_at: float | None = None
        self._site: web.TCPSite | None = None
        self.healthy = False
        self.authorities = ""
        """The bundle that clients should trust: ahead of what is served while a renewal settles."""

    def allowed_names(self) -> frozenset[str]:
        """The common names of the front proxy."""
        return self._served.front_proxy.names if self._served is not None else frozenset()

    async def run(self, application: web.Application) -> None:
        """Serve, check and follow changes until cancelled."""
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=FAREWELL_SECONDS)
        await runner.setup()
        try:
            while True:
                self.healthy = await self._tend(runner)
                await asyncio.sleep(self._check_seconds)
        finally:
            await runner.cleanup()

    async def _tend(self, runner: web.AppRunner) -> bool:
        """Follow changes; say whether the port answers as it should."""
        try:
            wanted = Identity(await self._store.current(), await read_front_proxy(self._kube))
            await self._follow(runner, wanted)
        except (KubeError, NoFrontProxy, OSError, ValueError) as error:
            # What was served so far goes on; without anything served the port stays shut.
            log.warning("the metrics API cannot be set up", error=str(error))
        return await self._answers()

    async def _follow(self, runner: web.AppRunner, wanted: Identity) -> None:
        self.authorities = wanted.certificate.authorities
        if wanted == self._served or self._must_wait(wanted):
            return
        site = web.TCPSite(
            runner, self._host, self._port, ssl_context=_context(wanted), reuse_port=True
        )
        await site.start()
        if self._site is not None:
            await self._site.stop()
        self._site, self._served, self._renewed_at = site, wanted, None
        log.info("serving the metrics API", port=self._port)

    def _must_wait(self, wanted: Identity) -> bool:
        if self._served is None or wanted.certificate == self._served.certificate:
            return False
        if not wanted.certificate.trusts(self._served.certificate):
            return False  # the Secret was made anew: what is served is no use to anybody
        if self._renewed_at is None:
            self._renewed_at = time.monotonic()
        return time.monotonic() - self._renewed_at < self._trust_seconds

    async def _answers(self) -> bool:
        """Ask our own port as a client would, trusting only what the APIService trusts."""
        if self._served is None:
            return False
        timeout = aiohttp.ClientTimeout(total=5.0)
        try:
            trust = ssl.create_default_context(cadata=self.authorities)
            trust.check_hostname = False  # certificates name only the Service
            connector = aiohttp.TCPConnector(ssl=trust, force_close=True)
            async with (
                aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
                session.get(f"https://{_loopback(self._host)}:{self._port}{HEALTH}") as response,
            ):
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("the metrics API does not answer its own check", error=repr(error))
            return False


def _loopback(host: str) -> str:
    """Where we find our own port; one that Python opens on `::` takes IPv6 alone."""
    found = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not to listen on
    return f"[{found}]" if ":" in found else found


def _context(identity: Identity) -> ssl.SSLContext:
    """Serve with our certificate; take client certificates of the front proxy's authority only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Optional, because the health check shows none; the application refuses everything else.
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=identity.front_proxy.authority)
    load_pem(context, identity.certificate.chain, identity.certificate.key)
    return context
