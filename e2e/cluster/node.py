"""One node: containerd, kubelet and kube-proxy on a machine, plain or with pretended GPUs."""

import json
import signal
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import binaries, cgroups, network
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.layout import Layout
from e2e.cluster.machine import Machine
from e2e.cluster.node_files import NodeFiles
from e2e.cluster.waiting import until

GPUS = 4
GPU_LABELS = {
    "nvidia.com/gpu.present": "true",
    "nvidia.com/gpu.product": "NVIDIA-L4",
    "nvidia.com/gpu.count": str(GPUS),
    "nvidia.com/gpu.memory": "23034",
}
"""The labels that NVIDIA's feature discovery would set."""
GPU_TAINT = "nvidia.com/gpu=present:NoSchedule"


@dataclass(frozen=True)
class Node:
    """Node `index` (1, 2 and so on) of a cluster."""

    layout: Layout
    index: int
    gpu: bool = False

    @property
    def name(self) -> str:
        """Its name in Kubernetes."""
        return self._files.name

    @property
    def machine(self) -> Machine:
        """The computer it runs on."""
        return Machine(self.layout.name, self.name)

    def start(self, control: Machine) -> None:
        """Boot it and start what is not running."""
        if not self.machine.init():
            self.machine.boot()
            network.plug_in(self.layout, control, self.machine, self.index)
        cgroups.create(self._files.cgroup)
        self._start("containerd", "containerd", self._files.containerd())
        until(self._files.socket.is_socket, f"containerd on {self.name}")
        self._start_kubelet()
        self._start("kube-proxy", binaries.path("kube-proxy"), self._files.kube_proxy())

    def stop(self) -> None:
        """Pull the plug."""
        self.machine.power_off()
        self._files.socket.unlink(missing_ok=True)
        cgroups.remove(self._files.cgroup)

    def restart_kubelet(self, kubectl: Kubectl) -> None:
        """End the kubelet, start it again, wait until the node is Ready by the new one's word."""
        before = _ready(kubectl, self.name)
        self.machine.stop("kubelet", signal.SIGKILL)
        self._start_kubelet()
        self.wait_until_ready(kubectl, after=before["lastHeartbeatTime"])

    def wait_until_ready(self, kubectl: Kubectl, after: str = "") -> None:
        """Until the node is Ready by a report later than `after`; then its GPUs are there too."""

        def reported() -> bool:
            ready = _ready(kubectl, self.name)
            return ready["status"] == "True" and ready["lastHeartbeatTime"] > after

        until(reported, f"readiness of {self.name}", seconds=90)
        if self.gpu:
            self._advertise_gpus(kubectl)

    @property
    def _files(self) -> NodeFiles:
        return NodeFiles(self.layout, self.index)

    def _start_kubelet(self) -> None:
        self._start("kubelet", binaries.path("kubelet"), self._files.kubelet())

    def _start(self, program: str, found: Path | str, arguments: list[str]) -> None:
        log = self.layout.logs(self.name) / f"{program}.log"
        self.machine.start(program, [found, *arguments], log)

    def _advertise_gpus(self, kubectl: Kubectl) -> None:
        labels = [f"{name}={value}" for name, value in GPU_LABELS.items()]
        kubectl("label", "node", self.name, "--overwrite", *labels)
        kubectl("taint", "node", self.name, "--overwrite", GPU_TAINT)
        capacity = {"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(GPUS)}
        patch = json.dumps([capacity])
        kubectl("patch", "node", self.name, "--subresource=status", "--type=json", "-p", patch)

        def allocatable() -> bool:
            status = kubectl.get("node", self.name)["status"]
            return bool(status["allocatable"].get("nvidia.com/gpu") == str(GPUS))

        until(allocatable, f"GPUs of {self.name}")


def _ready(kubectl: Kubectl, name: str) -> dict[str, str]:
    node = kubectl.find("node", name) or {"status": {}}
    conditions = node["status"].get("conditions", [])
    unknown = {"status": "Unknown", "lastHeartbeatTime": ""}
    return next((c for c in conditions if c["type"] == "Ready"), unknown)
