"""What breaks in a cluster, and what must not break with it."""

import pytest

from e2e.cluster.cluster import EmbeddedCluster
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.node import GPUS
from e2e.cluster.waiting import until
from e2e.workloads import pod, python, web_server

pytestmark = pytest.mark.core

WAIT = ["python3", "-c", "import time; time.sleep(3600)"]
GPU_TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
GREEDY = "import time; time.sleep(1); hoard = bytearray(10**9)"


def gpu_pod(name: str, image: str, gpus: int) -> dict[str, object]:
    limits = {"nvidia.com/gpu": str(gpus)}
    return pod(name, image, WAIT, limits=limits, tolerations=[GPU_TOLERATION])


def test_a_gpu_pod_lands_on_the_gpu_node_and_waits_with_the_schedulers_reason_when_all_are_taken(
    kubectl: Kubectl, operator_image: str, embedded: EmbeddedCluster
) -> None:
    kubectl.apply(gpu_pod("first", operator_image, GPUS))
    kubectl("wait", "pod/first", "--for=condition=Ready", "--timeout=60s")
    where = kubectl.get("pod", "first")["spec"]["nodeName"]
    assert embedded.node(where).gpu

    kubectl.apply(gpu_pod("second", operator_image, 1))
    kubectl("wait", "pod/second", "--for=condition=PodScheduled=False", "--timeout=30s")
    [refused] = [
        condition
        for condition in kubectl.get("pod", "second")["status"]["conditions"]
        if condition["type"] == "PodScheduled"
    ]
    assert refused["reason"] == "Unschedulable"
    assert "Insufficient nvidia.com/gpu" in refused["message"]


def test_a_pod_without_a_toleration_stays_off_the_gpu_node(
    kubectl: Kubectl, operator_image: str, embedded: EmbeddedCluster
) -> None:
    kubectl.apply(*web_server("web", operator_image, replicas=3))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")

    nodes = kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}").split()
    assert not any(embedded.node(node).gpu for node in nodes)


def test_a_container_killed_for_memory_is_started_again_and_says_why(
    kubectl: Kubectl, operator_image: str
) -> None:
    greedy = python("greedy", operator_image, GREEDY, memory="64Mi")
    greedy["spec"]["restartPolicy"] = "Always"
    kubectl.apply(greedy)

    def ended() -> str:
        statuses = kubectl.get("pod", "greedy")["status"].get("containerStatuses", [])
        restarted = statuses and statuses[0]["restartCount"] > 0
        return statuses[0]["lastState"]["terminated"]["reason"] if restarted else ""

    assert until(ended, "restart after running out of memory") == "OOMKilled"


def test_pods_serve_on_while_the_kubelet_and_the_api_server_start_again(
    kubectl: Kubectl, operator_image: str, embedded: EmbeddedCluster
) -> None:
    kubectl.apply(*web_server("web", operator_image))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    before = kubectl.get("pods", "-l", "e2e=web")["items"][0]

    embedded.restart_kubelet(before["spec"]["nodeName"])
    embedded.restart_apiserver()

    kubectl("wait", "deployment/web", "--for=condition=Available", "--timeout=60s")
    after = kubectl.get("pods", "-l", "e2e=web")["items"][0]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_stopped_nodes_pods_move_and_the_node_comes_back(
    kubectl: Kubectl, operator_image: str, embedded: EmbeddedCluster
) -> None:
    kubectl.apply(*web_server("web", operator_image))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    lost = kubectl.get("pods", "-l", "e2e=web")["items"][0]["spec"]["nodeName"]
    here = {"kubernetes.io/hostname": lost}
    kubectl.apply(*web_server("stranded", operator_image, nodeSelector=here))
    kubectl("rollout", "status", "deployment/stranded", "--timeout=60s")

    embedded.stop_node(lost)
    try:
        kubectl("wait", f"node/{lost}", "--for=condition=Ready=Unknown", "--timeout=60s")
        until(lambda: _elsewhere(kubectl, "web", lost), "a ready pod of web elsewhere", seconds=90)
    finally:
        embedded.start_node(lost)
    kubectl("rollout", "status", "deployment/stranded", "--timeout=90s")


def _elsewhere(kubectl: Kubectl, name: str, lost: str) -> bool:
    return any(
        one["spec"].get("nodeName") != lost
        and any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in one["status"].get("conditions", [])
        )
        for one in kubectl.get("pods", "-l", f"e2e={name}")["items"]
    )
