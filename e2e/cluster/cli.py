"""`python -m e2e.cluster`: the embedded cluster from the command line."""

import argparse
import sys

from e2e.cluster import binaries, machine
from e2e.cluster.cluster import EmbeddedCluster
from e2e.cluster.layout import DEFAULT_NAME
from e2e.cluster.preflight import missing_packages
from e2e.cluster.trouble import Trouble


def main() -> None:
    """Do what the arguments say; an expected failure is one message and status 1."""
    arguments = _parser().parse_args()
    cluster = EmbeddedCluster(arguments.name)
    try:
        arguments.do(cluster, arguments)
    except Trouble as failure:
        sys.exit(f"{failure}\nLogs, if any: {cluster.layout.folder / 'logs'}")


def _up(cluster: EmbeddedCluster, arguments: argparse.Namespace) -> None:
    cluster.up(arguments.nodes, arguments.gpu_nodes)
    print(f"export KUBECONFIG={cluster.layout.kubeconfig}")
    print(f"export PATH={binaries.path('kubectl').parent}:$PATH")


def _down(cluster: EmbeddedCluster, _: argparse.Namespace) -> None:
    cluster.down()


def _status(cluster: EmbeddedCluster, _: argparse.Namespace) -> None:
    on = {one.name for one in machine.running(cluster.layout.name)}
    print(f"control: {'on' if 'control' in on else 'off'}")
    for node in cluster.nodes:
        flavour = "GPU node" if node.gpu else "node"
        print(f"{node.name}: {flavour}, {'on' if node.name in on else 'off'}")
    if on:
        print(cluster.kubectl("get", "nodes,pods", "-A", "-o", "wide"), end="")


def _kubeconfig(cluster: EmbeddedCluster, _: argparse.Namespace) -> None:
    if not cluster.layout.kubeconfig.exists():
        sys.exit("No such cluster is up; `python -m e2e.cluster up` starts one.")
    print(cluster.layout.kubeconfig)


def _load_image(cluster: EmbeddedCluster, arguments: argparse.Namespace) -> None:
    cluster.load_image(arguments.reference)


def _node(cluster: EmbeddedCluster, arguments: argparse.Namespace) -> None:
    acts = {
        "stop": cluster.stop_node,
        "start": cluster.start_node,
        "restart-kubelet": cluster.restart_kubelet,
    }
    acts[arguments.act](arguments.node)


def _tools(_: EmbeddedCluster, __: argparse.Namespace) -> None:
    binaries.build(*binaries.TOOLS)
    for module in binaries.TOOLS:
        for program in module.programs:
            print(module.built / program)


def _packages(_: EmbeddedCluster, __: argparse.Namespace) -> None:
    print(*missing_packages())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster", description=__doc__)
    parser.add_argument("--name", default=DEFAULT_NAME, help="one of several clusters side by side")
    acts = parser.add_subparsers(required=True)
    up = acts.add_parser("up", help="start it, or what is missing of it")
    up.add_argument("--nodes", type=int, default=1, help="nodes without GPUs")
    up.add_argument("--gpu-nodes", type=int, default=0, help="nodes with pretended NVIDIA GPUs")
    up.set_defaults(do=_up)
    acts.add_parser("down", help="leave nothing of it").set_defaults(do=_down)
    acts.add_parser("status", help="machines, nodes and pods").set_defaults(do=_status)
    acts.add_parser("kubeconfig", help="print the path of its kubeconfig").set_defaults(
        do=_kubeconfig
    )
    acts.add_parser(
        "tools", help="build helm and the chart's checkers, print where they are"
    ).set_defaults(do=_tools)
    packages = acts.add_parser("packages", help="print the Debian packages that are missing here")
    packages.set_defaults(do=_packages)
    load = acts.add_parser("load-image", help="let the nodes fetch a locally built image")
    load.add_argument("reference")
    load.set_defaults(do=_load_image)
    node = acts.add_parser("node", help="fail and mend one node")
    node.add_argument("act", choices=["stop", "start", "restart-kubelet"])
    node.add_argument("node")
    node.set_defaults(do=_node)
    return parser
