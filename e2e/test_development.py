"""The loop of `skaffold dev`: code copied into a pod is served a moment later, by the same pod."""

import io
import tarfile
import time
import urllib.request
from pathlib import Path

import yaml

from e2e.cluster.commands import output
from e2e.cluster.images import DEVELOPMENT, REPOSITORY
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.waiting import until
from e2e.embedder import Embedder
from e2e.port_forward import port_forward
from e2e.target import Target

FILE = "smart_embedder/api/openapi.py"
COPIED = "Copied by skaffold"


def test_a_change_of_the_code_is_served_without_another_pod(
    target: Target, kubectl: Kubectl, operator: Kubectl
) -> None:
    assert operator.namespace
    example = yaml.safe_load((REPOSITORY / "examples" / "development.yaml").read_text())
    example["spec"]["image"] = {"reference": target.image(DEVELOPMENT)}
    kubectl.apply(example)
    embedder = Embedder(kubectl)
    embedder.ready()
    [pod] = kubectl("get", "pods", "-o", "name").split()

    edited = (REPOSITORY / "service" / FILE).read_text().replace("Smart Embedder", COPIED)
    copied = time.monotonic()
    copy(kubectl, pod, Path("/app") / FILE, edited)
    until(lambda: COPIED in description(kubectl, pod), "the edited title", seconds=120)
    print(f"served {time.monotonic() - copied:.1f} s after the copy")

    assert kubectl("get", "pods", "-o", "name").split() == [pod]


def copy(kubectl: Kubectl, pod: str, path: Path, text: str) -> None:
    """As skaffold copies: a tar archive that the container's own tar unpacks."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(str(path).lstrip("/"))
        entry.size = len(text.encode())
        tar.addfile(entry, io.BytesIO(text.encode()))
    unpack = ("exec", "-i", pod, "--", "tar", "xmf", "-", "-C", "/", "--no-same-owner")
    output(kubectl.command(*unpack), stdin=archive.getvalue().decode())


def description(kubectl: Kubectl, pod: str) -> str:
    """What the pod says of its API, or nothing while the service starts again.

    A port-forward of its own: one that meets a closed port ends.
    """
    try:
        with (
            port_forward(kubectl, pod, 8000) as address,
            urllib.request.urlopen(f"{address}/openapi.json", timeout=5) as answer,
        ):
            return str(answer.read().decode())
    except OSError:
        return ""
