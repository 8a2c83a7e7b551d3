"""Owns the cluster's names, folders and addresses. Touches nothing."""

import os
import zlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

DEFAULT_NAME = "smart-embedder"
STATE = Path("/var/lib/smart-embedder-clusters")
MOST_NODES = 15
"""Each cluster has 16 networks of 256 addresses: one between its machines, one of pods per node."""


def cache() -> Path:
    """Where binaries, images and the base system are kept from one cluster to the next."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "smart-embedder"


@dataclass(frozen=True)
class Layout:
    """One cluster's plan; two clusters of different names do not meet.

    All addresses come from 198.18.0.0/15, which is reserved for benchmarks and routed nowhere.
    """

    name: str = DEFAULT_NAME

    @property
    def slot(self) -> int:
        """Which sixteenth of the address range is this cluster's."""
        return 0 if self.name == DEFAULT_NAME else zlib.crc32(self.name.encode()) % 15 + 1

    @property
    def folder(self) -> Path:
        """Everything this cluster writes, logs included."""
        return STATE / self.name

    @property
    def link(self) -> str:
        """The host's end of the cable into the cluster."""
        return f"se{self.slot}"

    @property
    def fabric(self) -> IPv4Network:
        """The network between the machines."""
        return IPv4Network(f"198.18.{self.slot * 16}.0/24")

    @property
    def host(self) -> IPv4Address:
        """This computer, as the cluster sees it."""
        return self.fabric[1]

    @property
    def control(self) -> IPv4Address:
        """The machine with etcd and the API server."""
        return self.fabric[2]

    def node(self, index: int) -> IPv4Address:
        """The address of node 1, 2 and so on."""
        return self.fabric[10 + index]

    def pods(self, index: int) -> IPv4Network:
        """The addresses of the pods of node 1, 2 and so on."""
        return IPv4Network(f"198.18.{self.slot * 16 + index}.0/24")

    @property
    def all_pods(self) -> IPv4Network:
        """The network that every node's pods are in (the machines' own is its first part)."""
        return IPv4Network(f"198.18.{self.slot * 16}.0/20")

    @property
    def services(self) -> IPv4Network:
        """ClusterIPs."""
        return IPv4Network(f"198.19.{self.slot * 16}.0/20")

    @property
    def dns(self) -> IPv4Address:
        """The ClusterIP of the cluster's DNS."""
        return self.services[10]

    @property
    def api(self) -> str:
        """The API server's address."""
        return f"https://{self.control}:6443"

    @property
    def registry(self) -> str:
        """Where nodes fetch images."""
        return f"http://{self.control}:5000"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's way in."""
        return self.folder / "admin.kubeconfig"

    def logs(self, machine: str) -> Path:
        """The folder of one machine's logs."""
        return self.folder / "logs" / machine
