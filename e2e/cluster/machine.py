"""A computer inside this one: an init process with namespaces of its own.

Nothing is written down about it: it is found by its init process, and when that dies, the kernel
ends every process in it and takes its mounts, interfaces and namespaces away.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import binaries
from e2e.cluster.commands import Argument, environment, output
from e2e.cluster.trouble import Trouble
from e2e.cluster.waiting import until

PRIVATE_FOLDERS = ("/run/containerd", "/var/lib/cni", "/var/log/containers")
"""Paths that containerd, CNI plugins and kubelet use whatever they are told: each machine has its
own, in memory, so that machines do not meet there and nothing stays behind."""


class MachineOff(Trouble):
    """The machine is not running."""


@dataclass(frozen=True)
class Machine:
    """One machine of one cluster, running or not."""

    cluster: str
    name: str

    def init(self) -> int | None:
        """Its init process as the host numbers it; None while the machine is off."""
        return next((pid for pid, name in _inits(self.cluster) if name == self.name), None)

    def boot(self) -> None:
        """Start it, with a loopback interface and nothing else; does nothing when it runs."""
        if self.init():
            return
        namespaces = [
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "--propagation",
            "private",
        ]
        init = [str(binaries.path("pause")), self.cluster, self.name]
        _background(["unshare", *namespaces, *init], Path(os.devnull))
        until(self.init, f"first process of machine {self.name}", seconds=10, every=0.02)
        self.run("mount", "--make-rshared", "/")
        for folder in PRIVATE_FOLDERS:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *argv: Argument) -> str:
        """What `argv` prints when run inside."""
        return output([*self._enter(), *argv])

    def start(self, program: str, argv: Sequence[Argument], log: Path) -> None:
        """Start a long-running program inside unless it runs; its output is appended to `log`."""
        if self.processes(program):
            return
        log.parent.mkdir(parents=True, exist_ok=True)
        _background([*self._enter(), *map(str, argv)], log)
        until(
            lambda: self.processes(program),
            f"start of {program} (see {log})",
            seconds=20,
            every=0.02,
        )

    def processes(self, program: str | None = None) -> list[int]:
        """The processes inside, as the host numbers them: all, or those of one program."""
        init = self.init()
        if init is None:
            return []
        inside = _namespace(init)
        everyone = [pid for pid in _pids() if _namespace(pid) == inside]
        return [pid for pid in everyone if program in {None, _program(pid)}]

    def stop(self, program: str, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """End a program inside and wait until it is gone.

        Gone is gone from /proc: a process that is ending has no command line and still its ports.
        """
        ended = self.processes(program)
        for pid in ended:
            os.kill(pid, with_signal)
        until(lambda: not set(ended) & set(_pids()), f"end of {program} on {self.name}")

    def power_off(self) -> None:
        """As if the plug were pulled."""
        init = self.init()
        if init is None:
            return
        inside = _namespace(init)
        os.kill(init, signal.SIGKILL)
        until(
            lambda: not any(_namespace(pid) == inside for pid in _pids()),
            f"end of every process of machine {self.name}",
        )

    def _enter(self) -> list[str]:
        init = self.init()
        if init is None:
            raise MachineOff(f"machine {self.name} of cluster {self.cluster} is not running")
        return ["nsenter", f"--target={init}", "--net", "--mount", "--pid", "--"]


def running(cluster: str) -> list[Machine]:
    """The machines of a cluster that are on, whatever its folder says."""
    return [Machine(cluster, name) for _, name in _inits(cluster)]


def _background(argv: list[str], log: Path) -> None:
    """Start a program that is no child of this one: it outlives it, and leaves no zombie to it."""
    with log.open("ab") as sink:
        subprocess.run(
            ["setsid", "--fork", *argv],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=environment(),
            cwd="/",
            check=True,
        )


def _inits(cluster: str) -> Iterator[tuple[int, str]]:
    for pid in _pids():
        words = _command(pid)
        if len(words) == 3 and Path(words[0]).name == "pause" and words[1] == cluster:
            yield pid, words[2]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    except (FileNotFoundError, ProcessLookupError, UnicodeDecodeError):
        return []


def _program(pid: int) -> str:
    match _command(pid):
        case [_, "-m", module, *_]:
            return module
        case [first, *_]:
            return Path(first).name
    return ""


def _namespace(pid: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
