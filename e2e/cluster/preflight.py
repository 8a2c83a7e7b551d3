"""Says what this machine lacks to carry a cluster, and how to get it."""

import os
import platform
import shutil
from pathlib import Path

from e2e.cluster.commands import environment

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


class MachineUnfit(Exception):
    """This machine cannot carry the embedded cluster; the message says what to do."""


def check() -> None:
    """Raise MachineUnfit with everything that is missing, all at once."""
    if platform.system() != "Linux":
        raise MachineUnfit(
            "The embedded cluster needs Linux. Elsewhere, set KUBECONFIG to a cluster."
        )
    problems = []
    if os.geteuid() != 0:
        problems.append("It makes namespaces and mounts: run it as root.")
    if packages := missing_packages():
        problems.append(
            "Programs are missing. On Debian and its kin:\n"
            f"  apt-get install --no-install-recommends {' '.join(packages)}"
        )
    if not _found("go"):
        problems.append(
            "Kubernetes is built from source: install Go 1.24 or newer (https://go.dev/dl)."
        )
    if problems:
        raise MachineUnfit("\n".join(problems))


def missing_packages() -> list[str]:
    """The Debian packages whose programs are not here."""
    return sorted({package for program, package in PACKAGES.items() if not _found(program)})


def _found(program: str) -> bool:
    if program.startswith("/"):
        return Path(program).exists()
    return shutil.which(program, path=environment()["PATH"]) is not None
