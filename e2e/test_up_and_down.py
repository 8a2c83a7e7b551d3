"""A cluster comes up beside the others, twice, and leaves nothing behind."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from e2e.cluster import cgroups, kernel, machine
from e2e.cluster.cluster import EmbeddedCluster
from e2e.cluster.commands import CommandFailed, output

NAME = "up-and-down"
NAMESPACES = ("mnt", "net", "pid")


def traces(cluster: EmbeddedCluster, namespaces: set[str]) -> dict[str, object]:
    """Everything that could be left of a cluster, by kind; empty where nothing is."""
    layout = cluster.layout
    mounts = Path("/proc/mounts").read_text().splitlines()
    named = [line for line in _processes() if layout.name in line]
    return {
        "processes": named,
        "mounts": [line for line in mounts if layout.name in line or "cni-" in line],
        "interfaces": layout.link in output(["ip", "-o", "link"]),
        "routes": [line for line in output(["ip", "route"]).splitlines() if layout.link in line],
        "named network namespaces": output(["ip", "netns"]).strip(),
        "control groups": cgroups.left_over(layout.name),
        "files": layout.folder.exists(),
        "namespaces": namespaces & _namespaces(_pids()),
    }


@pytest.mark.core
def test_a_cluster_comes_and_goes_twice_and_leaves_nothing() -> None:
    cluster = EmbeddedCluster(NAME)
    settings = [(Path("/proc/sys") / name).read_text() for name in kernel.SETTINGS]
    for _ in range(2):
        try:
            cluster.up()
            cluster.up()  # finds everything done
            assert len(cluster.kubectl.get("nodes")["items"]) == 1
            assert {one.name for one in machine.running(NAME)} == {"control", "node1"}
            inhabited = _namespaces(_members()) - _namespaces([os.getpid()])
        finally:
            cluster.down()
        assert len(inhabited) > len(NAMESPACES)
        assert not any(traces(cluster, inhabited).values()), traces(cluster, inhabited)
    assert settings == [(Path("/proc/sys") / name).read_text() for name in kernel.SETTINGS]


def test_a_cluster_that_is_down_says_so() -> None:
    cluster = EmbeddedCluster("never-started")

    assert not cluster.running
    with pytest.raises(CommandFailed):
        cluster.kubectl("get", "nodes")
    cluster.down()  # does nothing, and that quietly


def _processes() -> list[str]:
    listed = subprocess.run(
        ["ps", "-eo", "stat=,args="], capture_output=True, text=True, check=True
    )
    return [line for line in listed.stdout.splitlines() if not line.startswith("Z")]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _members() -> list[int]:
    """The processes of the machines, and those of the pods: they have namespaces of their own."""
    machines = [pid for one in machine.running(NAME) for pid in one.processes()]
    return machines + [pid for pid in _pids() if f"/{NAME}/" in _read(pid, "cgroup")]


def _namespaces(pids: list[int]) -> set[str]:
    found = set()
    for pid in pids:
        for kind in NAMESPACES:
            with suppress(OSError):  # the process has ended, or is not ours to look at
                found.add(str(Path(f"/proc/{pid}/ns/{kind}").readlink()))
    return found


def _read(pid: int, name: str) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_text()
    return ""
