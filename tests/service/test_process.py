"""The service as a process: sockets, signals, exit codes.

The models are the benchmark's, which take exactly the time they are told to.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]


@dataclass
class Service:
    """A running process and a client of it that keeps its connections."""

    process: asyncio.subprocess.Process
    client: httpx.AsyncClient
    asked: int = 0

    async def embed(self) -> httpx.Response:
        """Embed a text that nobody has asked for before: 30 tokens or so."""
        self.asked += 1
        ask = {"input": f"{self.asked} {'word ' * 27}"}
        return await self.client.post("/v1/embeddings", json=ask)

    async def admitted(self, requests: int) -> None:
        """Wait until so many have come in."""
        while (await self.client.get("/stats")).json()["total_requests"] < requests:
            pass

    async def closed(self) -> None:
        """Wait until new work is refused: a body that is no JSON is 400 until then."""
        while (await self.client.post("/v1/embeddings", content=b"{")).status_code == 400:
            pass

    def signal(self) -> None:
        self.process.send_signal(signal.SIGTERM)


Start = Callable[..., AbstractAsyncContextManager[Service]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def spawn(tmp_path: Path, *command: str, **environment: str) -> asyncio.subprocess.Process:
    """Start a Python module with this environment and no other; what it says goes to a file."""
    known = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "RATE_LIMIT_REQUESTS_PER_MINUTE": "0",
        "METRICS_PORT": "0",
    }
    with (tmp_path / "log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *command),
            env=known | environment,
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start a service and wait until it is ready; capitals are its environment."""

    @asynccontextmanager
    async def start(
        *, pass_seconds: float = 0, token_seconds: float = 0, **environment: str
    ) -> AsyncIterator[Service]:
        port = free_port()
        costs = (f"--pass-seconds={pass_seconds}", f"--token-seconds={token_seconds}")
        module = ("bench.service_server", f"--port={port}", *costs)
        process = await spawn(tmp_path, *module, **environment)
        client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            limits=httpx.Limits(max_connections=None),
            timeout=60,
        )
        try:
            async with asyncio.timeout(60), client:
                await _ready(process, client)
                yield Service(process, client)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    return start


async def _ready(process: asyncio.subprocess.Process, client: httpx.AsyncClient) -> None:
    while process.returncode is None:
        try:
            if (await client.get("/health/ready")).status_code == 200:
                return
        except httpx.TransportError:
            await asyncio.sleep(0.05)
    pytest.fail(f"the service ended with {process.returncode}")


async def _answering(client: httpx.AsyncClient) -> None:
    while True:
        try:
            await client.get("/health/live")
        except httpx.TransportError:
            await asyncio.sleep(0.05)
        else:
            return


async def _answering_no_more(client: httpx.AsyncClient) -> None:
    """Wait until no connection is taken."""
    with suppress(httpx.TransportError):
        while True:
            await client.get("/health/live")


async def test_everything_admitted_is_answered_and_later_work_is_told_to_go(start: Start) -> None:
    # 200 texts of 30 tokens keep the device busy for four seconds, well beyond the delay.
    async with start(token_seconds=0.7e-3, DRAIN_DELAY="1") as service:
        admitted = [asyncio.create_task(service.embed()) for _ in range(200)]
        await service.admitted(200)
        service.signal()
        while (await service.client.get("/health/ready")).status_code == 200:
            pass
        served = await service.client.post("/tokenize", json={"inputs": "a"})
        await service.closed()
        late = await service.embed()
        answers = await asyncio.gather(*admitted)
        code = await service.process.wait()

    assert [answer.status_code for answer in answers] == [200] * 200
    assert (served.status_code, served.headers["connection"]) == (200, "close")
    assert late.status_code == 503
    assert late.headers["retry-after"] == "1"
    assert code == 0


async def test_a_second_signal_fails_what_is_left_and_the_code_says_so(start: Start) -> None:
    async with start(pass_seconds=3) as service:
        asked = [asyncio.create_task(service.embed()) for _ in range(4)]
        await service.admitted(4)
        service.signal()
        await service.closed()
        service.signal()
        answers = await asyncio.gather(*asked)
        code = await service.process.wait()

    assert [answer.status_code for answer in answers] == [503] * 4
    assert code == 4


async def test_the_end_of_the_budget_fails_what_is_left(start: Start) -> None:
    async with start(pass_seconds=3, DRAIN_SECONDS="0.2") as service:
        asked = asyncio.create_task(service.embed())
        await service.admitted(1)
        service.signal()
        answer = await asked
        code = await service.process.wait()

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "unavailable"
    assert code == 4


@asynccontextmanager
async def one_who_does_not_read(client: httpx.AsyncClient) -> AsyncIterator[None]:
    """Ask for more than any buffer holds, and read the first byte of it."""
    ask = {"sentences": [f"{number} {'word ' * 200}" for number in range(500)]}
    body = json.dumps(ask | {"return_colbert": True}).encode()
    head = f"POST /embeddings/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    url = client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port, limit=1)
    writer.write(head.encode() + body)
    await reader.readexactly(1)
    try:
        yield
    finally:
        writer.transport.abort()


async def test_a_client_that_does_not_read_its_answer_holds_the_process_no_longer_than_the_budget(
    start: Start,
) -> None:
    async with start(DRAIN_SECONDS="0.1") as service, one_who_does_not_read(service.client):
        service.signal()
        assert await service.process.wait() == 4


async def test_a_second_signal_waits_for_no_client_that_does_not_read(start: Start) -> None:
    async with start(DRAIN_SECONDS="600") as service, one_who_does_not_read(service.client):
        service.signal()
        await _answering_no_more(service.client)
        service.signal()
        assert await service.process.wait() == 4


async def test_an_idle_service_leaves_at_once(start: Start) -> None:
    async with start() as service:
        service.signal()
        assert await service.process.wait() == 0


async def test_a_connection_that_is_old_is_not_kept(start: Start) -> None:
    async with start(CONNECTION_MAX_AGE="0.000001") as service:
        answers = [await service.embed() for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.headers["connection"] for answer in answers] == ["close", "close"]


async def test_a_connection_that_has_served_is_not_kept(start: Start) -> None:
    async with start(CONNECTION_MAX_REQUESTS="1") as service:
        answers = [await service.embed() for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    # Its own number is between 0.75 and 1.25 of the setting's.
    assert "close" in [answer.headers.get("connection") for answer in answers]


async def test_an_address_that_is_taken_is_told_where_kubernetes_looks(tmp_path: Path) -> None:
    words = tmp_path / "termination-log"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = ("serve", "--host=127.0.0.1", f"--port={port}")
        process = await spawn(tmp_path, "smart_embedder.cli", *flags, TERMINATION_LOG=str(words))
        code = await process.wait()

    assert code == 3
    told = json.loads(words.read_text())
    assert told["reason"] == "PortTaken"
    assert str(port) in told["message"]


async def test_a_model_that_is_not_there_ends_the_start_with_its_reason(tmp_path: Path) -> None:
    words = tmp_path / "termination-log"
    process = await spawn(
        tmp_path,
        *("smart_embedder.cli", "serve", "--host=127.0.0.1", f"--port={free_port()}"),
        TERMINATION_LOG=str(words),
        EMBEDDING_MODEL="nobody/nothing",
        RERANKER_MODEL="none",
        HF_HUB_OFFLINE="1",
        HF_HOME=str(tmp_path / "hub"),
    )
    code = await process.wait()

    assert code == 3
    told = json.loads(words.read_text())
    assert told["reason"] == "ModelNotFound"
    assert "nobody/nothing" in told["message"]


async def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    port = free_port()
    process = await spawn(
        tmp_path,
        *("smart_embedder.cli", "serve", "--host=::", f"--port={port}"),
        EMBEDDING_MODEL="demo/bge-m3",
        RERANKER_MODEL="demo/bge-reranker-v2-m3",
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await _answering(client)
        startup = (await client.get("/health/startup")).json()
        process.send_signal(signal.SIGTERM)
        code = await process.wait()

    assert startup["state"] in ("starting", "ready")
    assert code == 0


async def test_wrong_settings_end_with_a_sentence_and_no_trace(tmp_path: Path) -> None:
    process = await spawn(tmp_path, "smart_embedder.cli", "serve", PORT="often")
    code = await process.wait()

    assert code == 2
    assert (tmp_path / "log").read_text().startswith("PORT: ")
