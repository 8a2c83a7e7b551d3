"""The operator process: its parts, who starts them, and the order in which they stop.

Every replica watches, scrapes and answers the metrics API; the leader alone reconciles. A stop
takes the metrics API back first and the Lease last, so that somebody always serves.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog
import yaml

from smart_embedder_operator import kinds, probes
from smart_embedder_operator.cluster import Cluster
from smart_embedder_operator.converge import Converger
from smart_embedder_operator.credentials import Credentials
from smart_embedder_operator.heartbeat import Heartbeat
from smart_embedder_operator.kinds import Key
from smart_embedder_operator.kube import Kube, KubeError
from smart_embedder_operator.leader import Elector
from smart_embedder_operator.metrics_api.apiservice import ApiServiceKeeper, Backend
from smart_embedder_operator.metrics_api.certificate_store import (
    CertificateStore,
    MountedFiles,
    OwnSecret,
)
from smart_embedder_operator.metrics_api.listener import Listener
from smart_embedder_operator.metrics_api.pods import PodTable, ScrapedPod
from smart_embedder_operator.metrics_api.scrape import Scraper
from smart_embedder_operator.metrics_api.server import MetricsApi
from smart_embedder_operator.observe import Observer
from smart_embedder_operator.observed import PodReport
from smart_embedder_operator.platform import Images, Platform
from smart_embedder_operator.profiles import load_profiles
from smart_embedder_operator.publish import Publisher
from smart_embedder_operator.reconcile import Reconciler
from smart_embedder_operator.reports import reports
from smart_embedder_operator.settings import Settings
from smart_embedder_operator.telemetry import Telemetry
from smart_embedder_operator.watching import OURS, Dispatcher, Watcher
from smart_embedder_operator.workqueue import WORK_SECONDS, WorkQueue

CAPABILITIES_SECONDS = 15.0  # a CRD installed later is noticed within this
RETRY_SECONDS = 2.0
# Events of one change come within this; it is also the delay that a hand-edited child may live.
SPACING_SECONDS = 0.5

log = structlog.get_logger()


class Operator:
    """One replica, wired."""

    def __init__(
        self,
        settings: Settings,
        *,
        kube: Kube,
        elections: Kube,
        credentials: Credentials,
        telemetry: Telemetry,
    ) -> None:
        """`elections` is a way to the API server of its own: a renewal must not queue for one."""
        self._settings = settings
        self._telemetry = telemetry
        self._heartbeat = Heartbeat(by_namespace=bool(settings.watch_namespaces))
        self._pods = PodTable()
        self._cluster = Cluster(kube, platform(settings), settings.watch_namespaces)
        self._scraper = Scraper(
            self._pods, period=settings.scrape_seconds, on_news=self._pod_has_news
        )
        self._reconciler = Reconciler(
            kube=kube,
            cluster=self._cluster,
            observer=Observer(kube, self._cluster, self._reports),
            converger=Converger(kube, self._heartbeat),
            publisher=Publisher(kube, self._heartbeat),
            telemetry=telemetry,
            resync_seconds=settings.resync_seconds,
        )
        self._queue: WorkQueue[Key] = WorkQueue(
            self._reconciler.reconcile, telemetry.queue, spacing=SPACING_SECONDS
        )
        dispatcher = Dispatcher(self._add, self._pods, self._heartbeat)
        self._watcher = Watcher(
            credentials, settings.watch_namespaces, dispatcher, when_blind=self._look_at_all
        )
        self._elector = Elector(
            elections,
            namespace=settings.pod_namespace,
            name=settings.lease_name,
            identity=settings.pod_name,
            deployment=settings.deployment,
        )
        self._listener = Listener(
            kube,
            _certificate_store(settings, kube),
            host=settings.address,
            port=settings.metrics_api_port,
        )
        self._keeper = ApiServiceKeeper(
            kube,
            _backend(settings),
            healthy=lambda: self._listener.healthy,
            authorities=lambda: self._listener.authorities,
        )
        self._stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop, then stop in good order."""
        self._telemetry.watch_leadership(lambda: self._elector.leading)
        self._telemetry.queue.watch_work(self._queue.busy_seconds)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(part) for part in self._parts()]
            await stop.wait()
            log.info("stopping")
            self._stopping = True
            await self._withdraw()
            for task in running:
                task.cancel()

    def _parts(self) -> list[Coroutine[Any, Any, None]]:
        settings, host = self._settings, self._settings.address
        parts: list[Coroutine[Any, Any, None]] = [
            probes.serve_probes(
                host, settings.probe_port, alive=self.not_alive, ready=self.not_ready
            ),
            probes.serve_metrics(host, settings.metrics_port, self._telemetry.page),
            self._watcher.run(),
            self._follow_capabilities(),
            self._scraper.run(),
            _often(self._relist_pods, settings.resync_seconds),
            self._elector.run(self._lead),
        ]
        if settings.metrics_api:
            api = MetricsApi(self._pods, self._scraper, self._listener.allowed_names)
            parts.append(self._listener.run(api.application()))
        return parts

    async def _lead(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._queue.run(self._settings.workers))
                tasks.create_task(_often(self._add_missing, self._settings.resync_seconds))
                if self._settings.metrics_api:
                    tasks.create_task(self._keeper.run())
        finally:
            self._queue.clear()
            self._reconciler.retire()

    def not_alive(self) -> str | None:
        """Why a restart would help."""
        if deaf := self._heartbeat.overdue():
            names = (" in ".join(filter(None, (kind.plural, place))) for kind, place in deaf)
            return f"no events any more for {', '.join(names)}"
        if max(self._queue.busy_seconds(), default=0.0) > 2 * WORK_SECONDS:
            return "a reconcile hangs and does not end when cancelled"
        return None

    def not_ready(self) -> str | None:
        """Why the metrics API should not be asked of this replica."""
        if self._stopping:
            return "stopping"
        if self._settings.metrics_api and not self._listener.healthy:
            return "the metrics API does not answer"
        return None

    async def _withdraw(self) -> None:
        if not self._settings.metrics_api:
            return
        try:
            await self._keeper.withdraw_if_last()
        except KubeError as error:
            # Uninstalling may take our rights first; the owner reference then does the rest.
            log.warning("the APIService could not be withdrawn", error=str(error))

    async def _follow_capabilities(self) -> None:
        while True:
            try:
                changed = await self._cluster.refresh()
                self._watcher.watch(kinds.watched(self._cluster.platform.capabilities))
                if changed:
                    await self._add_all()
                elif self._reconciler.troubled and await self._cluster.nodes_changed():
                    self._add_troubled()
                pause = CAPABILITIES_SECONDS
            except KubeError as error:
                log.warning("the cluster could not be looked at", error=str(error))
                pause = RETRY_SECONDS
            await asyncio.sleep(pause)

    def _add(self, key: Key, *, urgent: bool) -> None:
        """Only the leader has work; who comes to lead looks at every Embedder anyway."""
        if self._elector.leading:
            self._queue.add(key, urgent=urgent)

    async def _add_all(self) -> None:
        for key in await self._embedders():
            self._add(key, urgent=False)

    def _add_troubled(self) -> None:
        for key in tuple(self._reconciler.troubled):
            self._add(key, urgent=True)

    async def _look_at_all(self) -> None:
        try:
            await self._add_all()
        except KubeError as error:
            log.warning("the Embedders could not be listed", error=str(error))

    async def _add_missing(self) -> None:
        """Put Embedders on the queue that are not due anyway: all at first, then none."""
        for key in await self._embedders():
            if key not in self._queue:
                self._queue.add(key, urgent=False)

    async def _embedders(self) -> list[Key]:
        found = await self._cluster.everywhere(kinds.EMBEDDERS)
        return [(each["metadata"]["namespace"], each["metadata"]["name"]) for each in found]

    async def _relist_pods(self) -> None:
        began = time.monotonic()
        found = await self._cluster.everywhere(kinds.PODS, labels=OURS)
        for pod in self._pods.replace(found, as_of=began):
            # We write no pods, so this alone shows that their watch is deaf; at the start it is
            # only late, and lists them all in a moment.
            self._heartbeat.changed(kinds.PODS, pod.namespace, began)

    def _reports(self, namespace: str, name: str) -> dict[str, PodReport]:
        return reports(self._pods, self._scraper, namespace, name)

    def _pod_has_news(self, pod: ScrapedPod) -> None:
        if pod.embedder is not None:
            self._add((pod.namespace, pod.embedder), urgent=False)


def platform(settings: Settings) -> Platform:
    """What the settings mean to the pure half."""
    profiles: dict[str, Any] = {}
    if settings.profiles_file is not None:
        profiles = yaml.safe_load(Path(settings.profiles_file).read_text()) or {}
    return Platform(
        version=version("smart-embedder"),
        namespace=settings.pod_namespace,
        images=Images(
            cpu=settings.default_image, cuda=settings.gpu_image or settings.default_image
        ),
        profiles=load_profiles(profiles),
        pull_secrets=settings.pull_secrets,
        ipv6=settings.ipv6,
        cluster_domain=settings.cluster_domain,
    )


async def _often(act: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Do something now and every so often; what fails is done again soon."""
    while True:
        try:
            await act()
            pause = seconds
        except KubeError as error:
            log.warning("trying again soon", error=str(error))
            pause = RETRY_SECONDS
        await asyncio.sleep(pause)


def _certificate_store(settings: Settings, kube: Kube) -> CertificateStore:
    if settings.metrics_api_cert_dir is not None:
        return MountedFiles(Path(settings.metrics_api_cert_dir))
    service = f"{settings.metrics_api_service}.{settings.pod_namespace}.svc"
    return OwnSecret(
        kube,
        namespace=settings.pod_namespace,
        name=settings.metrics_api_secret,
        dns_names=(service, f"{service}.{settings.cluster_domain}"),
        deployment=settings.deployment,
    )


def _backend(settings: Settings) -> Backend:
    return Backend(
        namespace=settings.pod_namespace,
        service=settings.metrics_api_service,
        port=settings.metrics_api_service_port,
        pod_name=settings.pod_name,
        owner=settings.metrics_api_owner,
    )
