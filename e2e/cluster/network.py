"""Cables and routes between the machines; with no default route, nothing else is reachable."""

from collections.abc import Sequence

from e2e.cluster.commands import CommandFailed, output
from e2e.cluster.layout import Layout
from e2e.cluster.machine import Machine

BRIDGE = "fabric"


def build_fabric(layout: Layout, control: Machine) -> None:
    """A switch in the control machine, with a cable to the host."""
    control.run("ip", "link", "add", BRIDGE, "type", "bridge")
    control.run("ip", "address", "add", f"{layout.control}/24", "dev", BRIDGE)
    control.run("ip", "link", "set", BRIDGE, "up")
    unplug_host(layout)
    ends = ["type", "veth", "peer", "name", "host", "netns", _pid(control)]
    output(["ip", "link", "add", layout.link, *ends])
    control.run("ip", "link", "set", "host", "master", BRIDGE, "up")
    output(["ip", "address", "add", f"{layout.host}/24", "dev", layout.link])
    output(["ip", "link", "set", layout.link, "up"])


def unplug_host(layout: Layout) -> None:
    """Take the host's cable away, and with it every route into the cluster."""
    try:
        output(["ip", "link", "show", layout.link])
    except CommandFailed:
        return
    output(["ip", "link", "delete", layout.link])


def plug_in(layout: Layout, control: Machine, node: Machine, index: int) -> None:
    """A cable from the node to the switch."""
    address = str(layout.node(index))
    ends = ["type", "veth", "peer", "name", node.name, "netns", _pid(control)]
    output(["ip", "link", "add", "eth0", "netns", _pid(node), *ends])
    control.run("ip", "link", "set", node.name, "master", BRIDGE, "up")
    node.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.send_redirects=0")
    node.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
    node.run("ip", "link", "set", "eth0", "up")
    # A local process must find some route to a ClusterIP before kube-proxy's rules rewrite it.
    node.run("ip", "route", "add", str(layout.services), "dev", "lo", "src", address)


def route(layout: Layout, control: Machine, nodes: Sequence[tuple[int, Machine]]) -> None:
    """Everyone reaches every pod; host and control reach ClusterIPs by the first node."""
    for index, node in nodes:
        for other, _ in nodes:
            if other != index:
                node.run(*_route(str(layout.pods(other)), str(layout.node(other))))
    ways = [(str(layout.pods(index)), str(layout.node(index))) for index, _ in nodes]
    ways += [(str(layout.services), str(layout.node(index))) for index, _ in nodes[:1]]
    for network, gateway in ways:
        control.run(*_route(network, gateway))
        output(_route(network, gateway))


def _route(network: str, gateway: str) -> list[str]:
    return ["ip", "route", "replace", network, "via", gateway]


def _pid(machine: Machine) -> str:
    return str(machine.init())
