"""`kubectl port-forward` for as long as a case needs it."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from e2e.cluster.commands import environment
from e2e.cluster.kubectl import Kubectl


@contextmanager
def port_forward(kubectl: Kubectl, what: str, port: int) -> Iterator[str]:
    """An address on this computer that leads to a port in the cluster."""
    words = [str(word) for word in kubectl.command("port-forward", what, f":{port}")]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env=environment()
    ) as forwarding:
        assert forwarding.stdout is not None
        try:
            where = re.search(r"127\.0\.0\.1:\d+", forwarding.stdout.readline())
            assert where is not None
            yield f"http://{where[0]}"
        finally:
            forwarding.terminate()
