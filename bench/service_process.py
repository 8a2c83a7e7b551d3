"""A service process to measure: started, watched from outside, ended."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.service_load import Connection, Outcome, request

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Service:
    """One running service."""

    port: int
    process: asyncio.subprocess.Process

    @property
    def cpu_seconds(self) -> float:
        """User and system time of all threads so far."""
        return _cpu_seconds(Path(f"/proc/{self.process.pid}/stat"))

    @property
    def loop_cpu_seconds(self) -> float:
        """The part of it that the main thread used, where the event loop runs."""
        return _cpu_seconds(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/stat"))

    @property
    def resident_bytes(self) -> int:
        """Memory in use now."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * _PAGE

    async def get(self, path: str) -> Outcome:
        """Ask on a connection of its own."""
        connection = await Connection.open(self.port, keep_body=True)
        try:
            return await connection.send(request(path, b"", method="GET"))
        finally:
            connection.close()

    def terminate(self) -> None:
        """Ask it to leave."""
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Wait for its exit code."""
        async with asyncio.timeout(60):
            return await self.process.wait()


@asynccontextmanager
async def service(
    *,
    pass_seconds: float = 0.0,
    token_seconds: float = 0.0,
    batch_tokens: int = 16384,
    switched: bool = False,
    model: str = "",
    **environment: str,
) -> AsyncIterator[Service]:
    """Start a service over the null model; its limits on clients are off."""
    port = _free_port()
    command = [sys.executable, "-m", "bench.service_server", "--port", str(port)]
    costs = ["--pass-seconds", str(pass_seconds), "--token-seconds", str(token_seconds)]
    known = {
        "PATH": os.environ["PATH"],
        "RATE_LIMIT_REQUESTS_PER_MINUTE": "0",
        "METRICS_PORT": "0",
        "LOG_LEVEL": "WARNING",
    }
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *(
                *command,
                *costs,
                "--batch-tokens",
                str(batch_tokens),
                *["--switched"] * switched,
                "--model",
                model,
            ),
            env=known | environment,
            stdout=log,
            stderr=log,
        )
        running = Service(port, process)
        try:
            async with asyncio.timeout(60):
                await _until_ready(running)
            yield running
        except BaseException:
            log.seek(0)
            sys.stderr.buffer.write(log.read()[-8000:])
            raise
        finally:
            if process.returncode is None:
                process.terminate()
                await running.ended()


async def _until_ready(server: Service) -> None:
    while server.process.returncode is None:
        try:
            if (await server.get("/health/ready")).status == 200:
                return
        except OSError:
            pass
        await asyncio.sleep(0.05)
    raise RuntimeError(f"the service ended with {server.process.returncode} before it was ready")


def _cpu_seconds(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
