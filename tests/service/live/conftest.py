"""The service as a person runs it: a process of its own, on a port of its own, with demo models."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

TOKEN = "a-token-for-tests"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Live:
    """A started service."""

    token: str
    log: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def start(self, **environment: str) -> None:
        """Start the process."""
        known = {
            "EMBEDDING_MODEL": "demo/bge-m3",
            "RERANKER_MODEL": "demo/bge-reranker-v2-m3",
            "MODEL_DEVICE": "cpu",
            "TORCH_THREADS": "1",
            "API_TOKEN": self.token,
            "RATE_LIMIT_REQUESTS_PER_MINUTE": "0",
            "METRICS_PORT": "0",
            "HF_HUB_OFFLINE": "1",
            "PATH": os.environ["PATH"],
        }
        command = [sys.executable, "-m", "smart_embedder.cli", "serve", "--host", "127.0.0.1"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                env=known | environment,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
            )

    def await_ready(self, seconds: float = 180) -> None:
        """Wait until it is ready; importing torch takes long on a busy machine."""
        assert self.process
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        pytest.fail(f"the service did not get ready:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        assert self.process
        self.process.terminate()
        try:
            return self.process.wait(timeout=45)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One service with a token, shared by all tests that only ask it things."""
    service = Live(TOKEN, tmp_path_factory.mktemp("live") / "service.log")
    service.start()
    try:
        service.await_ready()
        yield service
    finally:
        code = service.stop()
    assert code == 0


@pytest.fixture
def start_live(tmp_path: Path) -> Iterator[Callable[..., list[Live]]]:
    """Start several services for one test; keywords are environment variables."""
    started: list[Live] = []

    def start(count: int, **environment: str) -> list[Live]:
        for _ in range(count):
            started.append(Live("", tmp_path / f"{len(started)}.log"))
            started[-1].start(**environment)
        for service in started:
            service.await_ready()
        return started

    yield start
    for service in started:
        service.stop()
