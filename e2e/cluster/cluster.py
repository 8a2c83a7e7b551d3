"""The embedded cluster as a whole: up, down, and what tests do to it."""

import fcntl
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from e2e.cluster import binaries, cgroups, dns, images, kernel, machine, network, preflight, storage
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.layout import DEFAULT_NAME, MOST_NODES, STATE, Layout
from e2e.cluster.node import Node
from e2e.cluster.progress import step
from e2e.cluster.trouble import Trouble


class NoSuchNode(Trouble):
    """A name that no node has."""


class EmbeddedCluster:
    """One cluster by name, running or not; every call can be repeated."""

    def __init__(self, name: str = DEFAULT_NAME) -> None:
        """Nothing is started yet."""
        self.layout = Layout(name)
        self.kubectl = Kubectl(self.layout.kubeconfig)

    @property
    def running(self) -> bool:
        """Whether any of its machines is on."""
        return bool(machine.running(self.layout.name))

    @classmethod
    def any_runs(cls) -> bool:
        """Whether any cluster of any name is on."""
        return any(cls(folder.name).running for folder in STATE.glob("*"))

    @property
    def nodes(self) -> list[Node]:
        """Its nodes, running or not."""
        listed = self.layout.folder / "nodes.json"
        plan = json.loads(listed.read_text()) if listed.exists() else []
        return [Node(self.layout, index, gpu=gpu) for index, gpu in enumerate(plan, start=1)]

    def node(self, name: str) -> Node:
        """One node by name."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise NoSuchNode(f"no node {name!r} here; there are {[node.name for node in self.nodes]}")

    def up(self, nodes: int = 1, gpu_nodes: int = 0) -> None:
        """Start what is not running, and add nodes until there are as many of each flavour."""
        preflight.check()
        self.layout.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            binaries.build(*binaries.CLUSTER)
            with step("Images of the cluster itself"):
                images.build_system()
            with step("Control plane"):
                self._start_control()
            self._plan(nodes, gpu_nodes)
            with step(f"Nodes {', '.join(node.name for node in self.nodes)}"):
                self._start_nodes(self.nodes)
            with step("DNS and volumes"):
                dns.install(self.kubectl, self.layout)
                storage.install(self.kubectl)
                wait = ("--for=condition=Available", "--timeout=90s", "deployment/coredns")
                self.kubectl("wait", "-n", "kube-system", *wait)

    def down(self) -> None:
        """Take away every process, namespace, mount, interface, control group and file of it."""
        for one in machine.running(self.layout.name):
            one.power_off()
        network.unplug_host(self.layout)
        cgroups.remove(self.layout.name)
        kernel.restore(self.layout.folder / "kernel.json")
        shutil.rmtree(self.layout.folder, ignore_errors=True)

    def load_image(self, reference: str) -> None:
        """Let the nodes fetch a locally built image; each does when a pod of its needs it."""
        images.publish(reference)

    def stop_node(self, name: str) -> None:
        """Pull a node's plug."""
        self.node(name).stop()
        self._route()

    def start_node(self, name: str) -> None:
        """Switch a stopped node on again and wait until it is Ready."""
        self._start_nodes([self.node(name)])

    def restart_kubelet(self, name: str) -> None:
        """End a node's kubelet, start it again, wait for its word."""
        self.node(name).restart_kubelet(self.kubectl)

    def restart_apiserver(self) -> None:
        """End the API server, start it again, wait until it answers."""
        self._control.restart_apiserver()

    @property
    def _control(self) -> ControlPlane:
        return ControlPlane(self.layout)

    def _start_control(self) -> None:
        kernel.remember(self.layout.folder / "kernel.json")
        control = self._control.machine
        if not control.init():
            control.boot()
            network.build_fabric(self.layout, control)
        address, _, port = self.layout.registry.removeprefix("http://").partition(":")
        self._start_helper("e2e.cluster.registry", str(images.store()), address, port)
        self._control.start()
        self._start_helper("e2e.cluster.storage", self.layout.name)

    def _start_helper(self, module: str, *arguments: str) -> None:
        control = self._control.machine
        python = ["env", f"PYTHONPATH={images.REPOSITORY}", sys.executable, "-m", module]
        log = self.layout.logs(control.name) / f"{module}.log"
        control.start(module, [*python, *arguments], log)

    def _plan(self, nodes: int, gpu_nodes: int) -> None:
        plan = [node.gpu for node in self.nodes]
        for gpu, count in ((False, nodes), (True, gpu_nodes)):
            plan += [gpu] * (count - plan.count(gpu))
        if len(plan) > MOST_NODES:
            raise Trouble(
                f"{len(plan)} nodes asked for; the address plan has room for {MOST_NODES}"
            )
        (self.layout.folder / "nodes.json").write_text(json.dumps(plan))

    def _start_nodes(self, nodes: list[Node]) -> None:
        for node in nodes:
            node.start(self._control.machine)
        self._route()
        for node in nodes:
            node.wait_until_ready(self.kubectl)

    def _route(self) -> None:
        on = [(node.index, node.machine) for node in self.nodes if node.machine.init()]
        network.route(self.layout, self._control.machine, on)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One `up` at a time: the second waits, then finds everything done."""
        with (self.layout.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
