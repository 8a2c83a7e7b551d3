"""kubectl against one cluster."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from e2e.cluster import binaries
from e2e.cluster.commands import Argument, CommandFailed, output
from e2e.cluster.waiting import until

Manifest = dict[str, Any]


class Kubectl:
    """`kubectl("get", "pods")` for one kubeconfig and, if given, one namespace."""

    def __init__(
        self, kubeconfig: Path, namespace: str | None = None, program: Path | None = None
    ) -> None:
        """Point at a cluster; nothing is asked of it yet."""
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self._program = program or binaries.path("kubectl")

    def __call__(self, *words: Argument, stdin: str | None = None, timeout: float = 120) -> str:
        """What kubectl prints; raises CommandFailed with its message."""
        return output(self.command(*words), stdin=stdin, timeout=timeout)

    def command(self, *words: Argument) -> list[Argument]:
        """The whole command line, for those who run it themselves."""
        scope = ["--namespace", self.namespace] if self.namespace else []
        return [self._program, "--kubeconfig", self.kubeconfig, *scope, *words]

    def inside(self, namespace: str) -> "Kubectl":
        """The same cluster, in a namespace."""
        return Kubectl(self.kubeconfig, namespace, self._program)

    def apply(self, *manifests: Manifest) -> None:
        """Server-side apply."""
        together = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
        self("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=together)

    def define(self, *definitions: str) -> None:
        """Server-side apply custom resource definitions, and wait until the API server serves them.

        `kubectl wait` fails at once on a definition that has no status yet.
        """
        flags = ("--server-side", "--force-conflicts", "-f", "-", "-o", "name")
        for definition in definitions:
            name = self("apply", *flags, stdin=definition).strip()
            until(partial(self._serves, name), f"{name} to be served", seconds=30)

    def _serves(self, name: str) -> bool:
        path = '{.status.conditions[?(@.type=="Established")].status}'
        return self("get", name, "-o", f"jsonpath={path}") == "True"

    def get(self, *words: Argument) -> Any:
        """An object, or a list of them, as kubectl's JSON has it."""
        return json.loads(self("get", *words, "-o", "json"))

    def find(self, *words: Argument) -> Any | None:
        """Like get; None where there is no such object."""
        try:
            return self.get(*words)
        except CommandFailed as refused:
            if "NotFound" in str(refused):
                return None
            raise
