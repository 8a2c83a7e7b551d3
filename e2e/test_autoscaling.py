"""Queue depth up, pods up; load gone, pods down: the real HPA asks our metrics API of real pods."""

import json
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from e2e.audit import AuditLog, Request
from e2e.cluster.cluster import EmbeddedCluster
from e2e.cluster.commands import CommandFailed
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.waiting import until
from e2e.embedder import Embedder, is_ready
from e2e.load import Load
from e2e.questions import EMBEDDING
from e2e.target import Target

pytestmark = pytest.mark.usefixtures("operator")

WINDOW = 15
"""Seconds for which the HPA looks back before it goes down; five minutes make a long case."""
AUTOSCALING = {
    "mode": "HPA",
    "maxReplicas": 3,
    "targetQueueDepth": 1,
    "behavior": {
        "scaleDown": {
            "stabilizationWindowSeconds": WINDOW,
            "policies": [{"type": "Pods", "value": 3, "periodSeconds": 15}],
        }
    },
}
PATIENT = {"requestTimeoutSeconds": 600, "drainSeconds": 600}
"""No request is refused for having to wait too long."""
DEPTH = "smart_embedder_queue_depth"
ANSWERED = "embedding_requests_total"
CONNECTIONS = 32
SETTLING = 90
"""Seconds after which a client's connections are spread over new pods."""
COUNTED = 60
"""Seconds of requests that are counted then: connections are dealt out by chance, so many count."""


def heavy(texts: int) -> dict[str, object]:
    """A request that a demo model on one core computes for about 0.05 s a text."""
    text = " a long text about search" * 60
    return {"model": "default", "input": [f"{{number}} {n}{text}" for n in range(texts)]}


@pytest.fixture
def hardware(target: Target, service_image: str) -> dict[str, object]:
    """Slow pods on a node that has the image, if one has: a pull of gigabytes is no scaling."""
    nodes = [one for one in target.kubectl.get("nodes")["items"] if not one["spec"].get("taints")]
    having = [one for one in nodes if service_image in json.dumps(one["status"].get("images", []))]
    name = (having or nodes)[0]["metadata"]["name"]
    half = {"requests": {"cpu": "250m"}, "limits": {"cpu": "500m", "memory": "2Gi"}}
    return {"resources": half, "nodeSelector": {"kubernetes.io/hostname": name}}


@pytest.fixture
def scalings(
    kubectl: Kubectl, embedded: EmbeddedCluster
) -> Callable[[Embedder, float], list[Request]]:
    """Every number of pods that was asked for since a moment, and by whom."""
    audit = AuditLog(embedded.layout.logs("control") / "audit.log")

    def read(embedder: Embedder, since: float) -> list[Request]:
        deployment = f"{embedder.name}-{embedder.status()['fingerprint']}"
        return audit.scalings(str(kubectl.namespace), deployment, since)

    return read


@pytest.mark.parametrize("toggled", [False, True], ids=["left-on", "switched-off-and-on"])
def test_a_queue_brings_pods_and_its_end_takes_them_and_the_number_never_wavers(
    kubectl: Kubectl,
    hardware: dict[str, object],
    scalings: Callable[[Embedder, float], list[Request]],
    start_load: Callable[..., Load],
    *,
    toggled: bool,
) -> None:
    embedder = Embedder(kubectl)
    embedder.create(autoscaling=AUTOSCALING, hardware=hardware, serving=PATIENT)
    embedder.ready()
    first = {pod["metadata"]["name"] for pod in embedder.pods()}
    kubectl("wait", "hpa/search", "--for=condition=ScalingActive", "--timeout=60s")

    load = start_load(embedder.endpoint + EMBEDDING.path, heavy(8), connections=12)
    [up, *_] = until(lambda: more(scalings(embedder, load.begun)), "a wish for pods", seconds=30)
    print(f"more pods asked for after {up.at - load.begun:.1f} s, by {up.user}")
    assert up.at - load.begun < 15
    assert up.user.endswith("horizontal-pod-autoscaler")
    until(lambda: answers(embedder, first), "an answer of a new pod", seconds=150)
    print(f"first answer of a new pod after {time.time() - load.begun:.1f} s")
    if toggled:
        switch_off_and_on(kubectl, embedder)
    load.end()
    sent = load.answers()
    gone = max(answer.answered for answer in sent)
    until(lambda: replicas(kubectl) == 1, "one pod", seconds=120)
    print(f"one pod {time.time() - gone:.0f} s after the last answer")

    numbers = [(one.at, one.replicas or 0) for one in scalings(embedder, load.begun)]
    print(f"{len(sent)} requests; pods asked for: {[number for _, number in numbers]}")
    assert {answer.outcome for answer in sent} == {"200"}
    falls = [at for (_, before), (at, after) in pairwise(numbers) if after < before]
    rises = [at for (_, before), (at, after) in pairwise(numbers) if after > before]
    assert min(falls) > max([gone, *rises])


def test_the_metrics_api_says_of_each_pod_what_the_pod_says(
    kubectl: Kubectl, hardware: dict[str, object], start_load: Callable[..., Load]
) -> None:
    embedder = Embedder(kubectl)
    embedder.create(replicas=2, hardware=hardware, serving=PATIENT)
    embedder.ready()
    load = start_load(embedder.endpoint + EMBEDDING.path, heavy(64), connections=7)

    def agree() -> dict[str, float]:
        before, api, after = own(embedder), told(kubectl), own(embedder)
        differ = len(set(api.values())) == 2
        return api if before == api == after and differ else {}

    depths = until(agree, "the metrics API to say what the pods say", seconds=90)
    print(f"queue depths, by the pods and by the API: {depths}")
    load.end()


def test_a_client_that_keeps_its_connections_reaches_new_pods_evenly(
    kubectl: Kubectl, hardware: dict[str, object], start_load: Callable[..., Load]
) -> None:
    embedder = Embedder(kubectl)
    embedder.create(replicas=1, hardware=hardware)
    embedder.ready()
    load = start_load(
        embedder.endpoint + EMBEDDING.path, EMBEDDING.body, rate=128, connections=CONNECTIONS
    )

    embedder.edit(replicas=4)
    ready = until(lambda: all_ready(embedder, 4), "four ready pods", seconds=120)
    time.sleep(max(0.0, ready + SETTLING - time.time()))
    before = answered(embedder)
    time.sleep(COUNTED)
    after = answered(embedder)
    load.end()

    served = {pod: after[pod] - before[pod] for pod in after}
    mean = sum(served.values()) / 4
    shares = {pod: round(number / mean, 2) for pod, number in served.items()}
    outcomes = load.outcomes()
    print(f"{outcomes}; shares of an equal share: {shares}")
    assert outcomes.keys() == {"200"}
    assert all(0.8 <= share <= 1.2 for share in shares.values())


def more(asked: list[Request]) -> list[Request]:
    """The wishes for more than one pod."""
    return [one for one in asked if (one.replicas or 0) > 1]


def answers(embedder: Embedder, first: set[str]) -> bool:
    """Whether a pod that is not among the first has answered a request."""
    ready = [pod["metadata"]["name"] for pod in embedder.pods() if is_ready(pod)]
    return any(embedder.metric(name, ANSWERED) for name in ready if name not in first)


def answered(embedder: Embedder) -> dict[str, float]:
    """Requests that each pod has answered."""
    names = [pod["metadata"]["name"] for pod in embedder.pods()]
    return {name: embedder.metric(name, ANSWERED) for name in names}


def switch_off_and_on(kubectl: Kubectl, embedder: Embedder) -> None:
    """Take the autoscaler away and bring it back."""
    embedder.edit(autoscaling=None)
    kubectl("wait", "hpa/search", "--for=delete", "--timeout=30s")
    embedder.ready()
    embedder.edit(autoscaling=AUTOSCALING)
    until(lambda: kubectl.find("hpa", "search"), "the HPA to come back", seconds=30)
    kubectl("wait", "hpa/search", "--for=condition=ScalingActive", "--timeout=30s")


def replicas(kubectl: Kubectl) -> int:
    """How many pods the Deployment asks for."""
    number: int = kubectl.get("deployments")["items"][0]["spec"]["replicas"]
    return number


def all_ready(embedder: Embedder, number: int) -> float:
    """The time, once so many pods are ready; 0 before."""
    return time.time() if sum(map(is_ready, embedder.pods())) == number else 0.0


def own(embedder: Embedder) -> dict[str, float]:
    """The queue depth as each pod itself tells it."""
    names = [pod["metadata"]["name"] for pod in embedder.pods()]
    return {name: embedder.metric(name, DEPTH) for name in names}


def told(kubectl: Kubectl) -> dict[str, float]:
    """The queue depth of each pod as the HPA is told it."""
    path = f"/apis/custom.metrics.k8s.io/v1beta2/namespaces/{kubectl.namespace}/pods/*/{DEPTH}"
    try:
        items: list[Any] = json.loads(kubectl("get", "--raw", path))["items"]
    except CommandFailed:
        return {}  # an operator that has just started tells nothing
    return {item["describedObject"]["name"]: float(item["value"]) for item in items}
