"""The operator as a process on this machine, against any API server."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster.waiting import until
from e2e.loopback import free_ports


class OperatorProcess:
    """One replica; started and ended as a kubelet would."""

    def __init__(self, kubeconfig: Path, name: str = "operator-0", **settings: str) -> None:
        """`settings` are the operator's variables, in small letters."""
        self.name = name
        self.probe_port, self.metrics_port, self.api_port = free_ports(3)
        self._environment = os.environ | {
            "KUBECONFIG": str(kubeconfig),
            "HOST": "127.0.0.1",
            "POD_NAME": name,
            "POD_NAMESPACE": "default",
            "PROBE_PORT": str(self.probe_port),
            "METRICS_PORT": str(self.metrics_port),
            "METRICS_API_PORT": str(self.api_port),
        }
        self.set(**settings)
        self._process: subprocess.Popen[bytes] | None = None
        self.started = 0.0

    def set(self, **settings: str) -> None:
        """Change variables before the next start."""
        self._environment |= {key.upper(): value for key, value in settings.items()}

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.started = time.time()
        self._process = subprocess.Popen(
            [Path(sys.executable).with_name("smart-embedder-operator"), "run"],
            env=self._environment,
        )
        until(lambda: self.probe("healthz"), f"{self.name} to answer", seconds=60)

    def probe(self, path: str) -> bool:
        """Whether the kubelet would be content."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.probe_port}/{path}", timeout=2):
                return True
        except OSError:
            return False

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as response:
            lines = response.read().decode().splitlines()
        found = (line.rpartition(" ") for line in lines if line.startswith(name))
        return sum(float(value) for _, _, value in found)

    @property
    def leads(self) -> bool:
        """Whether this replica is the one that reconciles."""
        return self.metric("leader_election_master_status") == 1.0

    def memory(self) -> float:
        """Resident megabytes."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int | None:
        """End it; its exit status, or None when it did not run."""
        if self._process is None:
            return None
        self._process.send_signal(how)
        status = self._process.wait(timeout=30)
        self._process = None
        return status


@contextmanager
def operator_process(
    kubeconfig: Path, name: str = "operator-0", **settings: str
) -> Iterator[OperatorProcess]:
    """A running replica."""
    process = OperatorProcess(kubeconfig, name, **settings)
    try:
        process.start()
        yield process
    finally:
        process.stop()
