"""etcd, the API server, the controller manager and the scheduler, on one machine."""

import json
import signal
from pathlib import Path

from e2e.cluster import binaries
from e2e.cluster.commands import CommandFailed
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.layout import Layout
from e2e.cluster.machine import Machine
from e2e.cluster.pki import Authority, write_kubeconfig
from e2e.cluster.trouble import Trouble
from e2e.cluster.waiting import until

NAME = "control"
_FRONT_PROXY = "front-proxy"
_AUDIT_POLICY: dict[str, object] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "omitManagedFields": True,
    "rules": [
        {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
        {  # Whoever scales: the log tells each number of pods that was ever asked for.
            "level": "RequestResponse",
            "verbs": ["create", "update", "patch"],
            "resources": [{"group": "apps", "resources": ["deployments", "deployments/scale"]}],
        },
        {"level": "Metadata"},
    ],
}
_ADMISSION: dict[str, object] = {
    "apiVersion": "apiserver.config.k8s.io/v1",
    "kind": "AdmissionConfiguration",
    "plugins": [
        {
            "name": "PodSecurity",
            "configuration": {
                "apiVersion": "pod-security.admission.config.k8s.io/v1",
                "kind": "PodSecurityConfiguration",
                "defaults": {"enforce": "baseline", "audit": "restricted", "warn": "restricted"},
                "exemptions": {"namespaces": ["kube-system"]},
            },
        }
    ],
}


class ProgramEnded(Trouble):
    """A program that should run has ended; the message carries its last words."""


class ControlPlane:
    """The control machine's programs; starting what already runs does nothing."""

    def __init__(self, layout: Layout) -> None:
        """Nothing is started yet."""
        self.machine = Machine(layout.name, NAME)
        self._layout = layout
        self._folder = layout.folder / NAME
        self._authority = Authority(layout.folder / "pki")
        self._kubectl = Kubectl(layout.kubeconfig)

    def start(self) -> None:
        """Start what is not running and wait until the API answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write_kubeconfigs()
        self._start("etcd", self._etcd())
        self._start("kube-apiserver", self._apiserver())
        self.wait_until_ready()
        self._start("kube-controller-manager", self._controller_manager())
        self._start("kube-scheduler", self._scheduler())

    def restart_apiserver(self) -> None:
        """End the API server, start it again, wait until it answers."""
        self.machine.stop("kube-apiserver", signal.SIGKILL)
        self._start("kube-apiserver", self._apiserver())
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Until the API server says it is ready."""

        def ready() -> bool:
            self._check_alive("kube-apiserver")
            return self.ready()

        until(ready, "readiness of the API server", seconds=90)

    def ready(self) -> bool:
        """Whether the API server says it is ready."""
        try:
            return self._kubectl("get", "--raw", "/readyz").strip() == "ok"
        except CommandFailed:
            return False

    def _check_alive(self, program: str) -> None:
        if not self.machine.processes(program):
            words = self._log(program).read_text().splitlines()[-3:]
            raise ProgramEnded(f"{program} ended: " + "\n".join(words))

    def _log(self, program: str) -> Path:
        return self._layout.logs(NAME) / f"{program}.log"

    def _start(self, program: str, arguments: dict[str, object]) -> None:
        flags = [f"--{name}={value}" for name, value in arguments.items()]
        self.machine.start(program, [binaries.path(program), *flags], self._log(program))

    def _write_kubeconfigs(self) -> None:
        users = {
            "admin": ("admin", "system:masters"),
            "kube-controller-manager": ("system:kube-controller-manager", ""),
            "kube-scheduler": ("system:kube-scheduler", ""),
        }
        for name, (subject, group) in users.items():
            identity = self._authority.issue(name, subject, group)
            path = self._layout.folder / f"{name}.kubeconfig"
            write_kubeconfig(path, self._layout.api, self._authority, identity)

    def _etcd(self) -> dict[str, object]:
        clients, peers = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
        return {
            "data-dir": self._folder / "etcd",
            "listen-client-urls": clients,
            "advertise-client-urls": clients,
            "listen-peer-urls": peers,
            "unsafe-no-fsync": "true",  # the data need not outlive a power cut
        }

    def _apiserver(self) -> dict[str, object]:
        layout, authority = self._layout, self._authority
        names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        addresses = ["127.0.0.1", str(layout.control), str(layout.services[1])]
        server = authority.issue("kube-apiserver", "kube-apiserver", names=names + addresses)
        kubelet_client = authority.issue("admin", "admin", "system:masters")
        aggregator = authority.issue(_FRONT_PROXY, _FRONT_PROXY)
        tokens = authority.signing_key("service-accounts")
        return {
            "etcd-servers": "http://127.0.0.1:2379",
            "bind-address": layout.control,
            "advertise-address": layout.control,
            "secure-port": 6443,
            "tls-cert-file": server.certificate,
            "tls-private-key-file": server.key,
            "client-ca-file": authority.certificate,
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-signing-key-file": tokens,
            "service-account-key-file": tokens,
            "service-cluster-ip-range": layout.services,
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "admission-control-config-file": self._document("admission.json", _ADMISSION),
            "audit-policy-file": self._document("audit-policy.json", _AUDIT_POLICY),
            "audit-log-path": layout.logs(NAME) / "audit.log",
            "allow-privileged": "true",
            "kubelet-client-certificate": kubelet_client.certificate,
            "kubelet-client-key": kubelet_client.key,
            "kubelet-certificate-authority": authority.certificate,
            # Without it `logs` and `exec` look for the node's name in DNS.
            "kubelet-preferred-address-types": "InternalIP",
            # The aggregation layer: an extension API, such as custom metrics, runs in a pod.
            "requestheader-client-ca-file": authority.certificate,
            "requestheader-allowed-names": _FRONT_PROXY,
            "requestheader-extra-headers-prefix": "X-Remote-Extra-",
            "requestheader-group-headers": "X-Remote-Group",
            "requestheader-username-headers": "X-Remote-User",
            "proxy-client-cert-file": aggregator.certificate,
            "proxy-client-key-file": aggregator.key,
            "enable-aggregator-routing": "true",
            # A test should not wait five minutes for the pods of a dead node.
            "default-not-ready-toleration-seconds": 10,
            "default-unreachable-toleration-seconds": 10,
        }

    def _controller_manager(self) -> dict[str, object]:
        authority = self._authority
        return {
            **self._way_in("kube-controller-manager"),
            "root-ca-file": authority.certificate,
            "service-account-private-key-file": authority.signing_key("service-accounts"),
            "use-service-account-credentials": "true",
            "cluster-signing-cert-file": authority.certificate,
            "cluster-signing-key-file": authority.key,
            "allocate-node-cidrs": "false",
            "horizontal-pod-autoscaler-sync-period": "5s",  # 15 s by default: tests would wait
            "node-monitor-grace-period": "16s",  # 50 s by default; four status reports of a kubelet
        }

    def _scheduler(self) -> dict[str, object]:
        return self._way_in("kube-scheduler")

    def _way_in(self, program: str) -> dict[str, object]:
        path = self._layout.folder / f"{program}.kubeconfig"
        ways = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        return {**dict.fromkeys(ways, path), "leader-elect": "false"}

    def _document(self, name: str, content: dict[str, object]) -> str:
        path = self._folder / name
        path.write_text(json.dumps(content))
        return str(path)
