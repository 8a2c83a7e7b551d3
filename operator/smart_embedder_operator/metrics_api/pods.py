"""The pods whose queues are read: where each is and what it is called.

Fed by the watch and now and then by a full list; only what scraping and answering need is kept,
so that thousands of pods cost little.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from smart_embedder_operator.kube import Manifest
from smart_embedder_operator.labels import EMBEDDER

METRICS_PORT = 9090  # the service's METRICS_PORT, where the container names no other

PodKey = tuple[str, str]  # namespace and name


@dataclass(frozen=True, slots=True)
class ScrapedPod:
    """A pod that has an address."""

    namespace: str
    name: str
    uid: str
    address: str
    port: int
    loading: bool
    """A startup probe has not passed yet: its queue is empty because it cannot take any."""
    labels: Mapping[str, str] = field(hash=False)

    @property
    def key(self) -> PodKey:
        """Where the pod is found."""
        return self.namespace, self.name

    @property
    def embedder(self) -> str | None:
        """The Embedder it belongs to."""
        return self.labels.get(EMBEDDER)

    @property
    def url(self) -> str:
        """Its metrics page."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}/metrics"


class PodTable:
    """The pods known now."""

    def __init__(self) -> None:
        self._pods: dict[PodKey, ScrapedPod] = {}
        self._told: dict[PodKey, float] = {}  # when an event last spoke of a pod

    def __iter__(self) -> Iterator[ScrapedPod]:
        return iter(tuple(self._pods.values()))

    def __len__(self) -> int:
        return len(self._pods)

    def get(self, key: PodKey) -> ScrapedPod | None:
        """One pod."""
        return self._pods.get(key)

    def update(self, manifest: Manifest) -> None:
        """Note a pod as an event shows it; one that has no address or has ended is dropped."""
        self._told[_key(manifest)] = time.monotonic()
        self._note(manifest)

    def remove(self, manifest: Manifest) -> None:
        """Forget a pod that is gone; a list that was read before may still show it."""
        self._told[_key(manifest)] = time.monotonic()
        self._pods.pop(_key(manifest), None)

    def replace(self, manifests: Iterable[Manifest], as_of: float) -> tuple[ScrapedPod, ...]:
        """Take a list read at `as_of` for the truth, but for pods that events spoke of since.

        Answers with the pods that no event has told of although they run.
        """
        before = set(self._pods)
        newer = {key for key, when in self._told.items() if when >= as_of}
        listed = {_key(manifest): manifest for manifest in manifests}
        for key in self._pods.keys() - listed.keys() - newer:
            del self._pods[key]
        for key in listed.keys() - newer:
            self._note(listed[key])
        self._told = {key: when for key, when in self._told.items() if key in newer}
        return tuple(pod for key, pod in self._pods.items() if key not in before)

    def _note(self, manifest: Manifest) -> None:
        pod = scraped_pod(manifest)
        if pod is not None:
            self._pods[pod.key] = pod
        else:
            self._pods.pop(_key(manifest), None)


def _key(manifest: Manifest) -> PodKey:
    return manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def scraped_pod(manifest: Manifest) -> ScrapedPod | None:
    """What scraping needs of a pod, or None while there is nothing to scrape."""
    status = manifest.get("status", {})
    address = status.get("podIP")
    if not address or status.get("phase") != "Running":
        return None
    metadata = manifest["metadata"]
    return ScrapedPod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        address=address,
        port=_metrics_port(manifest),
        # All of them: a sidecar without a probe has started long before the model is there.
        loading=not all(
            container.get("started") for container in status.get("containerStatuses", [{}])
        ),
        labels=metadata.get("labels") or {},
    )


def _metrics_port(manifest: Manifest) -> int:
    for container in manifest.get("spec", {}).get("containers", []):
        for port in container.get("ports", []):
            if port.get("name") == "metrics":
                return int(port["containerPort"])
    return METRICS_PORT
