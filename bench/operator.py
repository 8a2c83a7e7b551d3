"""1,000 Embedders against a real API server: how quick, how big, and how quiet the operator is.

Run by `make bench-operator`. No pod runs: etcd and kube-apiserver stand on loopback, and what
happened when is read from the API server's own audit log. Prints its table line by line.
"""

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from e2e.audit import AuditLog
from e2e.loopback import ApiServer, api_server
from e2e.operator_process import OperatorProcess

from bench import operator_pods
from smart_embedder_operator import kinds
from smart_embedder_operator.credentials import from_kubeconfig
from smart_embedder_operator.kube_client import KubeClient
from smart_embedder_operator.render import crd

NAMESPACE = "default"
OPERATOR = "operator"
AT_ONCE = 16
POLL_SECONDS = 4.0  # the log is read whole each time; reading it more often would be the load


def embedder(number: int) -> dict[str, Any]:
    """One of many; with an autoscaler, so that every kind of child is there."""
    return {
        "apiVersion": kinds.EMBEDDERS.api_version,
        "kind": kinds.EMBEDDERS.kind,
        "metadata": {"name": f"e{number:04}", "namespace": NAMESPACE},
        "spec": {
            "models": {"embedding": "BAAI/bge-m3"},
            "autoscaling": {"mode": "HPA", "minReplicas": 1, "maxReplicas": 3},
        },
    }


async def each(items: Iterable[int], act: Callable[[int], Awaitable[object]]) -> None:
    """Do something with every item, several at once."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(item: int) -> None:
        async with slots:
            await act(item)

    await asyncio.gather(*(one(item) for item in items))


async def until(what: str, check: Callable[[], bool], seconds: float = 900.0) -> None:
    """Wait for something the audit log will show."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(check):
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        await asyncio.sleep(POLL_SECONDS)


def created(audit: AuditLog) -> dict[str, float]:
    """When the first status of each Embedder was written: its children are all there then."""
    found: dict[str, float] = {}
    for request in audit.writes(OPERATOR):
        if (request.resource, request.subresource) == ("embedders", "status"):
            found.setdefault(request.name, request.at)
    return found


def quantiles(values: list[float]) -> tuple[float, float]:
    """p50 and p99."""
    cut = statistics.quantiles(values, n=100, method="inclusive")
    return cut[49], cut[98]


async def bulk(kube: KubeClient, audit: AuditLog, numbers: range) -> tuple[float, float]:
    """Apply many at once; p50 and p99 of the seconds until all children of one are there."""
    applied: dict[str, float] = {}

    async def create(number: int) -> None:
        applied[f"e{number:04}"] = time.time()
        await kube.create(kinds.EMBEDDERS, embedder(number))

    await each(numbers, create)
    await until("children of all Embedders", lambda: applied.keys() <= created(audit).keys())
    done = created(audit)
    return quantiles([done[name] - at for name, at in applied.items()])


async def edits(kube: KubeClient, audit: AuditLog, count: int) -> tuple[float, float]:
    """Change one Embedder after another; seconds until its Deployment has changed."""
    began: dict[str, float] = {}
    for number in range(count):
        name = f"e{number:04}"
        live = await kube.get(kinds.EMBEDDERS, name, NAMESPACE)
        live["spec"]["serving"] = {"maxBatchTokens": 4096}
        began[name] = time.time()
        await kube.replace(kinds.EMBEDDERS, live)
        await asyncio.sleep(0.5)

    def changed() -> dict[str, float]:
        return {
            request.name.rpartition("-")[0]: request.at
            for request in audit.writes(OPERATOR, min(began.values()))
            if request.resource == "deployments"
        }

    await until("the edits to be rolled out", lambda: began.keys() <= changed().keys(), 120)
    done = changed()
    return quantiles([done[name] - at for name, at in began.items()])


async def settled(audit: AuditLog, quiet: float = 20.0) -> None:
    """Until nothing has been written for a while."""
    await until("silence", lambda: not audit.writes(OPERATOR, time.time() - quiet))


async def measure(server: ApiServer, count: int, minutes: float) -> None:
    """Everything, in order."""
    server.kubectl.define(crd())
    audit = AuditLog(server.audit_log)
    identity = server.kubeconfig_for(OPERATOR, "system:masters")
    operator = OperatorProcess(identity, log_level="WARNING")
    async with KubeClient(from_kubeconfig(server.kubeconfig)) as kube:
        operator.start()
        try:
            few = await bulk(kube, audit, range(min(20, count)))
            note("20 applied at once: children present, p50 / p99", seconds(*few))
            await settled(audit)
            note("memory with 20 (goal 120 MB)", f"{operator.memory():.0f} MB")
            many = await bulk(kube, audit, range(20, count))
            note(f"{count} applied at once: p50 / p99", seconds(*many))
            await settled(audit)
            note(f"memory with {count} (goal 250 MB)", f"{operator.memory():.0f} MB")
            one = await edits(kube, audit, min(50, count))
            note("one change: Deployment written, p50 / p99 (goal 2 s)", seconds(*one))
            await settled(audit)
            await silence(audit, minutes)
            await restart(audit, operator, count)
            note("memory after it", f"{operator.memory():.0f} MB")
        finally:
            operator.stop()


async def silence(audit: AuditLog, minutes: float) -> None:
    """Count what a steady state costs."""
    began = time.time()
    await asyncio.sleep(60 * minutes)
    writes = len(audit.writes(OPERATOR, began))
    reads = sum(1 for _ in audit.requests(OPERATOR, began)) - writes
    note("steady state: writes a minute (goal 0)", f"{writes / minutes:.1f}")
    note("steady state: reads a minute", f"{reads / minutes:.0f}")


async def restart(audit: AuditLog, operator: OperatorProcess, count: int) -> None:
    """Stop and start; a full look at everything, which has to write nothing."""
    operator.stop()
    operator.start()

    def looked_at() -> list[float]:
        first: dict[str, float] = {}
        for request in audit.requests(OPERATOR, operator.started):
            if (request.resource, request.verb) == ("embedders", "get"):
                first.setdefault(request.name, request.at)
        return sorted(first.values())

    await until("a look at everything", lambda: len(looked_at()) >= count)
    looks = looked_at()
    requests = sum(1 for _ in audit.requests(OPERATOR, operator.started))
    first, last = looks[0] - operator.started, looks[-1] - operator.started
    writes = len(audit.writes(OPERATOR, operator.started))
    note("restart to first reconcile (goal 15 s)", f"{first:.1f} s")
    note("full resync after it", f"{last - first:.1f} s, {requests} requests, {writes} writes")


def note(what: str, figure: str) -> None:
    """A line of the table, as soon as it is known."""
    print(f"{what:<55}  {figure}", flush=True)


def seconds(p50: float, p99: float) -> str:
    """Two figures for the table."""
    return f"{p50:.2f} s / {p99:.2f} s"


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embedders", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=2.0, help="of steady state")
    asked = parser.parse_args()
    note("cores, load before", f"{os.cpu_count()}, {os.getloadavg()[0]:.1f}")
    for what, figure in operator_pods.figures():
        note(what, figure)
    with api_server() as server:
        asyncio.run(measure(server, asked.embedders, asked.minutes))


if __name__ == "__main__":
    main()
