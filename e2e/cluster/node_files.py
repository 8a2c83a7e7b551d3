"""What a node's programs are told: the files that containerd, kubelet and kube-proxy read."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster.images import SANDBOX
from e2e.cluster.layout import Layout
from e2e.cluster.pki import Authority, Identity, write_kubeconfig


@dataclass(frozen=True)
class NodeFiles:
    """The files of node `index`, in a folder of its own."""

    layout: Layout
    index: int

    @property
    def name(self) -> str:
        """The node's name."""
        return f"node{self.index}"

    @property
    def folder(self) -> Path:
        """Where they are, beside what the programs keep."""
        return self.layout.folder / self.name

    @property
    def socket(self) -> Path:
        """Where containerd listens."""
        return self.folder / "containerd.sock"

    @property
    def cgroup(self) -> str:
        """The group above the node's pods: kubelets end pods they do not know below theirs."""
        return f"{self.layout.name}/{self.name}"

    def containerd(self) -> list[str]:
        """Containerd's arguments."""
        self._write("cni/pods.conflist", _pod_network(str(self.layout.pods(self.index))))
        self._write("registry/_default/hosts.toml", _HOSTS.format(registry=self.layout.registry))
        settings = _CONTAINERD.format(folder=self.folder, sandbox=SANDBOX)
        return ["--config", self._write("containerd.toml", settings)]

    def kubelet(self) -> list[str]:
        """The kubelet's arguments."""
        names = [self.name, str(self.layout.node(self.index))]
        identity = self._authority.issue(
            self.name, f"system:node:{self.name}", "system:nodes", names
        )
        return [
            f"--config={self._write('kubelet.json', json.dumps(self._kubelet(identity)))}",
            f"--kubeconfig={self._way_in('kubelet', identity)}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.layout.node(self.index)}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--cert-dir={self.folder / 'kubelet-certificates'}",
        ]

    def kube_proxy(self) -> list[str]:
        """Arguments of kube-proxy."""
        identity = self._authority.issue("kube-proxy", "system:kube-proxy")
        settings = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(self._way_in("kube-proxy", identity))},
            "mode": "nftables",
            "clusterCIDR": str(self.layout.pods(self.index)),
            "hostnameOverride": self.name,
            # Zero: leave the computer's own connection tracking as it is.
            "conntrack": {
                "maxPerCore": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
        }
        return [f"--config={self._write('kube-proxy.json', json.dumps(settings))}"]

    @property
    def _authority(self) -> Authority:
        return Authority(self.layout.folder / "pki")

    def _way_in(self, program: str, identity: Identity) -> Path:
        path = self.folder / f"{program}.kubeconfig"
        return write_kubeconfig(path, self.layout.api, self._authority, identity)

    def _kubelet(self, identity: Identity) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self._authority.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "address": str(self.layout.node(self.index)),
            "tlsCertFile": str(identity.certificate),
            "tlsPrivateKeyFile": str(identity.key),
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "cgroupRoot": f"/{self.cgroup}",
            "cgroupDriver": "cgroupfs",
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "clusterDNS": [str(self.layout.dns)],
            "clusterDomain": "cluster.local",
            "resolvConf": "/dev/null",
            "podLogsDir": str(self.folder / "pod-logs"),
            "serializeImagePulls": False,
            # 10 s and 40 s by default; the controller manager's patience is set to match.
            "nodeStatusUpdateFrequency": "4s",
            "nodeStatusReportFrequency": "4s",
            "nodeLeaseDurationSeconds": 12,
            # The disk is shared with everything else on this computer: no eviction for its sake.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi"},
        }

    def _write(self, name: str, content: str) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # kube-proxy ends when its file is written, whatever is in it, and `up` may come again.
        if not path.is_file() or path.read_text() != content:
            path.write_text(content)
        return str(path)


def _pod_network(subnet: str) -> str:
    """A cable per pod and no bridge: every packet is routed, so kube-proxy's rules see it."""
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": subnet}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    cable = {"type": "ptp", "ipMasq": False, "ipam": ipam}
    host_ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [cable, host_ports]})


# discard_unpacked_layers: the registry has them still, and an image of torch is gigabytes twice.
# restrict_oom_score_adj: without CAP_SYS_RESOURCE no score may be lowered, no sandbox would start.
_CONTAINERD = """\
version = 2
root = "{folder}/containerd"
state = "/run/containerd/state"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    discard_unpacked_layers = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{folder}/registry"
"""
_HOSTS = """\
server = "{registry}"
[host."{registry}"]
  capabilities = ["pull", "resolve"]
"""
