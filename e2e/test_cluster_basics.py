"""What every Kubernetes does, and every later case relies on."""

import errno
import urllib.request

import pytest

from e2e.cluster.commands import CommandFailed
from e2e.cluster.kubectl import Kubectl
from e2e.port_forward import port_forward
from e2e.questions import CONNECT, RESTRICTED
from e2e.workloads import away_from, pod, python, web_server

FETCH = (
    CONNECT
    + """
import sys, urllib.request
connected(sys.argv[1])
print(urllib.request.urlopen(sys.argv[1], timeout=10).status)
"""
)
REACH_OUT = """
import socket
try:
    socket.create_connection(("192.0.2.1", 443), timeout=5)
except OSError as refused:
    print(refused.errno)
"""


def wait_for_end(kubectl: Kubectl, name: str) -> str:
    """A pod's last words, once it has ended well."""
    kubectl("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s")
    return kubectl("logs", name).strip()


@pytest.mark.core
def test_kubectl_logs_exec_port_forward_wait_and_rollout_restart_work(
    kubectl: Kubectl, operator_image: str
) -> None:
    kubectl.apply(*web_server("web", operator_image))
    kubectl("wait", "deployment/web", "--for=condition=Available", "--timeout=60s")
    first = kubectl("get", "pods", "-o", "name").split()

    assert "42" in kubectl("exec", "deploy/web", "--", "python3", "-c", "print(6 * 7)")
    with port_forward(kubectl, "deployment/web", 8000) as address:
        assert urllib.request.urlopen(f"{address}/hostname", timeout=10).status == 200
    assert "GET /hostname" in kubectl("logs", "deployment/web")

    kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("wait", *first, "--for=delete", "--timeout=60s")
    assert not set(first) & set(kubectl("get", "pods", "-o", "name").split())


@pytest.mark.core
def test_a_services_name_answers_from_a_pod_on_another_node(
    kubectl: Kubectl, operator_image: str
) -> None:
    kubectl.apply(*web_server("web", operator_image))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    url = f"http://web.{kubectl.namespace}.svc.cluster.local:8000/hostname"
    kubectl.apply(python("client", operator_image, FETCH, url, affinity=away_from("web")))

    assert wait_for_end(kubectl, "client") == "200"
    nodes = kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}").split()
    assert len(set(nodes)) == 2


def test_no_packet_leaves_the_embedded_cluster(
    kubectl: Kubectl, operator_image: str, embedded: object
) -> None:
    assert embedded
    kubectl.apply(python("explorer", operator_image, REACH_OUT))

    assert wait_for_end(kubectl, "explorer") in {str(errno.ENETUNREACH), str(errno.EHOSTUNREACH)}


def test_a_pod_that_asks_for_more_than_restricted_is_refused(
    kubectl: Kubectl, operator_image: str
) -> None:
    loose = pod("loose", operator_image, ["true"])
    loose["spec"]["containers"][0]["securityContext"] = {**RESTRICTED, "runAsNonRoot": False}

    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        kubectl.apply(loose)


def test_a_claim_gets_a_volume_that_outlives_its_pod_and_goes_with_the_claim(
    kubectl: Kubectl, operator_image: str
) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    kubectl.apply(claim)
    writer = python("writer", operator_image, "open('/models/file', 'w').write('kept')")
    reader = python("reader", operator_image, "print(open('/models/file').read())")
    for one in (writer, reader):
        one["spec"]["volumes"] = [
            {"name": "models", "persistentVolumeClaim": {"claimName": "models"}}
        ]
        one["spec"]["containers"][0]["volumeMounts"] = [{"name": "models", "mountPath": "/models"}]
    kubectl.apply(writer)
    wait_for_end(kubectl, "writer")
    kubectl.apply(reader)
    assert wait_for_end(kubectl, "reader") == "kept"

    volume = kubectl.get("persistentvolumeclaim", "models")["spec"]["volumeName"]
    kubectl("delete", "pods", "--all")
    kubectl("delete", "persistentvolumeclaim", "models")
    kubectl("wait", f"persistentvolume/{volume}", "--for=delete", "--timeout=60s")
