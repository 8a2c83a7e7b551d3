"""The engines of the comparison, each loaded in a process of its own."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Worker:
    """A rival in its own process."""

    def __init__(self, name: str, folder: Path, threads: int, log: Path, python: str) -> None:
        self.name = name
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [python, "-m", "bench.rivals", name, str(folder), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"},
        )

    def wait_ready(self) -> None:
        """Wait until it is loaded and warm."""
        self._answer()

    def ask(self, **question: Any) -> dict[str, Any]:
        """Send a line, wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        """End it: some rivals keep threads that no end of input stops."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} died; see {self._log.name}")
        found: dict[str, Any] = json.loads(line)
        return found


@contextlib.contextmanager
def loaded(pythons: dict[str, str], folder: Path, threads: int) -> Iterator[list[Worker]]:
    """Load one after the other: two at once would not fit small machines."""
    workers: list[Worker] = []
    try:
        for name, python in pythons.items():
            start = time.perf_counter()
            log = folder / f"{name.replace(' ', '-')}.log"
            worker = Worker(name, folder, threads, log, python)
            workers.append(worker)
            worker.wait_ready()
            print(f"{name} is ready after {time.perf_counter() - start:.0f} s", flush=True)
        yield workers
    finally:
        for worker in workers:
            worker.stop()
