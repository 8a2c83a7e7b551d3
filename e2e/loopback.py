"""An API server on loopback for cases that need no node: etcd and kube-apiserver, nothing else.

No pod ever runs here and no other controller interferes, so what the operator writes can be
counted. Needs no root and no network namespace of its own.
"""

import contextlib
import json
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from e2e.cluster import binaries
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.pki import Authority, write_kubeconfig
from e2e.cluster.waiting import until

FRONT_PROXY = "front-proxy"


class ApiServer:
    """etcd and kube-apiserver, as child processes of this one."""

    def __init__(self, folder: Path) -> None:
        """Nothing runs yet."""
        self._folder = folder
        self._authority = Authority(folder / "pki")
        self._etcd_port, self._peer_port, self.port = free_ports(3)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.kubeconfig = self.kubeconfig_for("admin", "system:masters")
        self.kubectl = Kubectl(self.kubeconfig)

    def kubeconfig_for(self, user: str, group: str = "") -> Path:
        """A way in for a user."""
        identity = self._authority.issue(user, user, group)
        server = f"https://127.0.0.1:{self.port}"
        path = self._folder / f"{user}.kubeconfig"
        return write_kubeconfig(path, server, self._authority, identity)

    def start(self) -> None:
        """Start what is not running and wait until the API answers."""
        self._start("etcd", self._etcd())
        self._start("kube-apiserver", self._apiserver())
        until(self._ready, "readiness of the API server", seconds=120)

    def kill(self) -> None:
        """End the API server without a farewell."""
        self._stop("kube-apiserver", signal.SIGKILL)

    def stop(self) -> None:
        """End everything."""
        for program in ("kube-apiserver", "etcd"):
            self._stop(program, signal.SIGKILL)

    def _start(self, program: str, flags: dict[str, object]) -> None:
        if program in self._running:
            return
        with (self._folder / f"{program}.log").open("ab") as log:
            self._running[program] = subprocess.Popen(
                [binaries.path(program), *(f"--{name}={value}" for name, value in flags.items())],
                stdout=log,
                stderr=log,
            )

    def _stop(self, program: str, how: signal.Signals) -> None:
        if process := self._running.pop(program, None):
            process.send_signal(how)
            process.wait()

    def _ready(self) -> bool:
        answer = subprocess.run(
            [binaries.path("kubectl"), "--kubeconfig", self.kubeconfig, "get", "--raw", "/readyz"],
            capture_output=True,
            check=False,
        )
        return answer.stdout.strip() == b"ok"

    def _etcd(self) -> dict[str, object]:
        clients = f"http://127.0.0.1:{self._etcd_port}"
        peers = f"http://127.0.0.1:{self._peer_port}"
        return {
            "data-dir": self._folder / "etcd",
            "listen-client-urls": clients,
            "advertise-client-urls": clients,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"default={peers}",
            "unsafe-no-fsync": "true",
        }

    def _apiserver(self) -> dict[str, object]:
        authority = self._authority
        server = authority.issue("apiserver", "kube-apiserver", names=["localhost", "127.0.0.1"])
        proxy = authority.issue(FRONT_PROXY, FRONT_PROXY)
        tokens = authority.signing_key("service-accounts")
        return {
            "etcd-servers": f"http://127.0.0.1:{self._etcd_port}",
            "bind-address": "127.0.0.1",
            "secure-port": self.port,
            "tls-cert-file": server.certificate,
            "tls-private-key-file": server.key,
            "client-ca-file": authority.certificate,
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-signing-key-file": tokens,
            "service-account-key-file": tokens,
            "service-cluster-ip-range": "10.96.0.0/12",
            "authorization-mode": "RBAC",
            "disable-admission-plugins": "ServiceAccount",  # nobody is here to make the accounts
            "audit-policy-file": self._audit_policy(),
            "audit-log-path": self._folder / "audit.log",
            "requestheader-client-ca-file": authority.certificate,
            "requestheader-allowed-names": FRONT_PROXY,
            "requestheader-extra-headers-prefix": "X-Remote-Extra-",
            "requestheader-group-headers": "X-Remote-Group",
            "requestheader-username-headers": "X-Remote-User",
            "proxy-client-cert-file": proxy.certificate,
            "proxy-client-key-file": proxy.key,
            # An ExternalName Service is then a way to an extension API on loopback, too.
            "enable-aggregator-routing": "false",
        }

    @property
    def audit_log(self) -> Path:
        """Every request, a line each."""
        return self._folder / "audit.log"

    def _audit_policy(self) -> Path:
        path = self._folder / "audit-policy.yaml"
        rules = [{"level": "Metadata"}]
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}
        path.write_text(json.dumps(policy | {"omitStages": ["RequestReceived"]}))
        return path


@contextlib.contextmanager
def api_server() -> Iterator[ApiServer]:
    """A running API server in a folder of its own."""
    binaries.build(*binaries.CLUSTER)
    with tempfile.TemporaryDirectory(prefix="api-server-") as folder:
        server = ApiServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
