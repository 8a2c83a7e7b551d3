"""Says what this machine lacks to carry a cluster, and how to get it."""

import os
import platform
import shutil
from pathlib import Path

from e2e.cluster.commands import environment
from e2e.cluster.trouble import Trouble

PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ethtool": "ethtool",
    "socat": "socat",
    "nsenter": "util-linux",
    "ctr": "containerd",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
}
"""Program → the Debian package that brings it."""


class MachineUnfit(Trouble):
    """This machine cannot carry the embedded cluster; the message says what to do."""


def check() -> None:
    """Raise MachineUnfit with everything that is missing, all at once."""
    if found := problems(platform.system(), os.geteuid(), missing_packages(), go=_found("go")):
        raise MachineUnfit("\n".join(found))


def problems(system: str, user: int, packages: list[str], *, go: bool) -> list[str]:
    """What stands in the way, each with what to do about it."""
    if system != "Linux":
        return ["The embedded cluster needs Linux. Elsewhere, set KUBECONFIG to a cluster."]
    found = []
    if user != 0:
        found.append("It makes namespaces and mounts: run it as root.")
    if packages:
        install = f"apt-get install --no-install-recommends {' '.join(packages)}"
        found.append(f"Programs are missing. On Debian and its kin:\n  {install}")
    if not go:
        found.append("Kubernetes is built from source: install Go 1.24 or newer, https://go.dev/dl")
    return found


def missing_packages() -> list[str]:
    """The Debian packages whose programs are not here."""
    return sorted({package for program, package in PACKAGES.items() if not _found(program)})


def _found(program: str) -> bool:
    if program.startswith("/"):
        return Path(program).exists()
    return shutil.which(program, path=environment()["PATH"]) is not None
