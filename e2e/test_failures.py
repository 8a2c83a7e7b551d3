"""What breaks in a cluster, and what must not break with it."""

import pytest

from e2e.cluster.cluster import EmbeddedCluster
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.node import GPUS
from e2e.cluster.waiting import until
from e2e.workloads import GPU_TOLERATION, gpu_pod, python, web_server

GREEDY = "import time; time.sleep(1); hoard = bytearray(10**9)"


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


@pytest.mark.core
def test_a_gpu_embedder_waits_for_a_gpu_and_says_so_then_lands_on_the_gpu_node(
    kubectl: Kubectl, operator: Kubectl, operator_image: str, embedded: EmbeddedCluster
) -> None:
    assert operator.namespace
    kubectl.apply(gpu_pod("hog", operator_image, GPUS))
    kubectl("wait", "pod/hog", "--for=condition=Ready", "--timeout=60s")
    resources = {"requests": {"cpu": "10m"}, "limits": {"nvidia.com/gpu": "1", "memory": "1Gi"}}
    embedder = {
        "apiVersion": "smart-embedder.io/v1alpha1",
        "kind": "Embedder",
        "metadata": {"name": "gpu"},
        "spec": {
            "models": {"embedding": "demo/bge-m3"},
            "hub": {"offline": True},
            "hardware": {"resources": resources, "tolerations": [GPU_TOLERATION]},
        },
    }
    kubectl.apply(embedder)
    reason = '{.status.conditions[?(@.type=="Ready")].reason}'
    kubectl("wait", "embedder/gpu", f"--for=jsonpath={reason}=InsufficientGPU", "--timeout=90s")

    kubectl("delete", "pod", "hog", "--now")
    pods = ("pod", "-l", "smart-embedder.io/embedder=gpu")
    kubectl("wait", *pods, "--for=condition=PodScheduled", "--timeout=60s")
    where = [one["spec"]["nodeName"] for one in kubectl.get("pods", *pods[1:])["items"]]
    assert all(embedded.node(node).gpu for node in where)


def test_a_pod_without_a_toleration_stays_off_the_gpu_node(
    kubectl: Kubectl, operator_image: str, embedded: EmbeddedCluster
) -> None:
    kubectl.apply(*web_server("web", operator_image, replicas=3))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")

    nodes = kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}").split()
    assert not any(embedded.node(node).gpu for node in nodes)


@pytest.mark.core
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
