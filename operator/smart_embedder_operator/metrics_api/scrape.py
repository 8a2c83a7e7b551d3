"""Reads every pod's queue every few seconds and keeps the latest answer of each.

A pod that does not answer in time keeps its old values until they are stale; nobody waits for
it. What the values are used for, this file does not know.
"""

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
import structlog

from smart_embedder_operator.metrics_api.exposition import (
    METRICS,
    MODEL_INFO,
    Labels,
    Values,
    read_gauges,
    read_models,
)
from smart_embedder_operator.metrics_api.pods import PodKey, PodTable, ScrapedPod

POD_SECONDS = 2.0  # a pod in the same cluster answers in milliseconds, or something is wrong
PAGES_AT_ONCE = 64  # sockets, not threads: a thousand pods fit the period many times over
PAGE_BYTES = 1 << 20
STALE_PERIODS = 3  # a value older than this many periods is no longer told

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sample:
    """What one pod said, and when."""

    uid: str
    values: Values
    models: tuple[Labels, ...]
    taken: datetime
    clock: float


class Scraper:
    """The latest sample of every pod."""

    def __init__(
        self, pods: PodTable, *, period: float, on_news: Callable[[ScrapedPod], None]
    ) -> None:
        """`on_news` is called when a pod speaks again, or says that it holds other models."""
        self._pods = pods
        self._on_news = on_news
        self._period = period
        self._samples: dict[PodKey, Sample] = {}
        self._slots = asyncio.Semaphore(PAGES_AT_ONCE)
        self._began = -math.inf

    def fresh(self, pod: ScrapedPod) -> Sample | None:
        """The pod's sample, unless it is stale or of an earlier pod of that name."""
        sample = self._samples.get(pod.key)
        if sample is None or sample.uid != pod.uid:
            return None
        age = time.monotonic() - sample.clock
        return sample if age <= STALE_PERIODS * self._period else None

    @property
    def is_new(self) -> bool:
        """Whether a pod without a sample may only not have been asked often enough."""
        return time.monotonic() - self._began < STALE_PERIODS * self._period

    async def run(self) -> None:
        """Read all pods every period, until cancelled."""
        self._began = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=POD_SECONDS)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=STALE_PERIODS * self._period)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            while True:
                began = time.monotonic()
                await self.round(session)
                await asyncio.sleep(max(0.0, began + self._period - time.monotonic()))

    async def round(self, session: aiohttp.ClientSession) -> None:
        """Read every pod once, those that answered lately first, for as long as a round may take.

        Hundreds that nobody can reach would hold all slots until the others' values are stale; of
        those, each round has time for some.
        """
        pods = list(self._pods)
        random.shuffle(pods)
        pods.sort(key=lambda pod: self.fresh(pod) is None)
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(max(self._period, POD_SECONDS)),
                asyncio.TaskGroup() as tasks,
            ):
                for pod in pods:
                    tasks.create_task(self._read(session, pod))
        known = {pod.key for pod in self._pods}
        self._samples = {key: held for key, held in self._samples.items() if key in known}

    async def _read(self, session: aiohttp.ClientSession, pod: ScrapedPod) -> None:
        # prometheus_client sends only these series; a server that ignores the query sends all.
        query: Mapping[str, list[str]] = {"name[]": [*METRICS, MODEL_INFO]}
        try:
            # A redirect is not followed: whoever labels a pod must not choose what we ask.
            async with (
                self._slots,
                session.get(pod.url, params=query, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    return
                page = await _page(response.content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.debug("a pod did not answer", pod=pod.name, error=repr(error))
            return
        self._note(pod, page)

    def _note(self, pod: ScrapedPod, page: bytes) -> None:
        values, models = read_gauges(page), read_models(page)
        if not values:
            return
        before = self.fresh(pod)
        self._samples[pod.key] = Sample(
            pod.uid, values, models, datetime.now(UTC), time.monotonic()
        )
        if before is None or before.models != models:
            self._on_news(pod)


async def _page(content: aiohttp.StreamReader) -> bytes:
    """The page up to its bound; one read gives only what has come so far."""
    page = bytearray()
    while len(page) < PAGE_BYTES and (more := await content.read(PAGE_BYTES - len(page))):
        page += more
    return bytes(page)
