"""Asks an endpoint from inside the cluster: a pod that posts JSON and prints the answers."""

import json
from dataclasses import dataclass
from typing import Any

from e2e.cluster.kubectl import Kubectl, Manifest

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What the `restricted` Pod Security Standard asks of a container, and a read-only root."""
CONNECT = """
import socket, time, urllib.parse
def connected(url):
    address = urllib.parse.urlsplit(url)
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection((address.hostname, address.port), 5).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
"""
"""Waits for a Service: a node hears of the first endpoint a moment after the pod became ready."""
_ASK = (
    CONNECT
    + """
import json, sys, urllib.request
for url, body in json.loads(sys.argv[1]):
    connected(url)
    request = urllib.request.Request(url, json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    print(urllib.request.urlopen(request, timeout=60).read().decode())
"""
)


@dataclass(frozen=True)
class Question:
    """A path and what is posted to it."""

    path: str
    body: dict[str, Any]


EMBEDDING = Question("/v1/embeddings", {"model": "default", "input": "What is a vector?"})
RERANK = Question(
    "/v1/rerank",
    {
        "model": "default",
        "query": "What is a vector?",
        "documents": ["A vector is a list of numbers.", "Bread is baked from flour."],
    },
)


def ask(kubectl: Kubectl, image: str, server: str, *questions: Question) -> list[Any]:
    """The answers of `server` (http://service:port), asked by a pod of an image with Python."""
    posts = [[server + question.path, question.body] for question in questions]
    kubectl.apply(_pod("question", image, ["python3", "-c", _ASK, json.dumps(posts)]))
    try:
        kubectl("wait", "pod/question", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s")
        return [json.loads(line) for line in kubectl("logs", "question").splitlines()]
    finally:
        kubectl("delete", "pod", "question", "--now", "--wait=false")


def _pod(name: str, image: str, command: list[str]) -> Manifest:
    container = {
        "name": name,
        "image": image,
        "command": command,
        "securityContext": RESTRICTED,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
