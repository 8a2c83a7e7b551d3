"""The pods whose queues are read: where each is and what it is called.

Fed by the watch and now and then by a full list; only what scraping and answering need is kept,
so that thousands of pods cost little.
"""

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
    """Its startup probe has not passed yet: its queue is empty because it cannot take any."""
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

    def __iter__(self) -> Iterator[ScrapedPod]:
        return iter(tuple(self._pods.values()))

    def __len__(self) -> int:
        return len(self._pods)

    def get(self, key: PodKey) -> ScrapedPod | None:
        """One pod."""
        return self._pods.get(key)

    def update(self, manifest: Manifest) -> None:
        """Note a pod as it is now; one that has no address or has ended is dropped."""
        pod = scraped_pod(manifest)
        if pod is not None:
            self._pods[pod.key] = pod
        else:
            self.remove(manifest)

    def remove(self, manifest: Manifest) -> None:
        """Forget a pod."""
        metadata = manifest["metadata"]
        self._pods.pop((metadata["namespace"], metadata["name"]), None)

    def replace(self, manifests: Iterable[Manifest]) -> None:
        """Take a full list for the truth: pods whose end nobody told us of go."""
        pods = (scraped_pod(manifest) for manifest in manifests)
        self._pods = {pod.key: pod for pod in pods if pod is not None}


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
        loading=not any(
            container.get("started") for container in status.get("containerStatuses", [])
        ),
        labels=metadata.get("labels") or {},
    )


def _metrics_port(manifest: Manifest) -> int:
    for container in manifest.get("spec", {}).get("containers", []):
        for port in container.get("ports", []):
            if port.get("name") == "metrics":
                return int(port["containerPort"])
    return METRICS_PORT
