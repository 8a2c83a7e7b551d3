"""Builds pinned programs from their Go modules, once, into the cache."""

import hashlib
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster.commands import output
from e2e.cluster.layout import cache
from e2e.cluster.progress import step

MODULES = Path(__file__).parent / "modules"
_GO_BUILD = ("nice", "go", "build", "-mod=readonly", "-trimpath")


@dataclass(frozen=True)
class Module:
    """One go.mod: the programs built from it and where they keep their version."""

    name: str
    release: str
    """The Go module whose version is the programs' version; empty: a program of ours."""
    programs: dict[str, str]
    """Program → the Go package it is built from."""
    version_variables: tuple[str, ...] = field(default=())
    """Go variables that hold the version: unset, Kubernetes calls itself v0.0.0-master."""

    @property
    def folder(self) -> Path:
        """Where go.mod and go.sum lie."""
        return MODULES / self.name

    @property
    def version(self) -> str:
        """The version that go.mod pins."""
        if not self.release:
            return "v1"
        pin = re.search(
            rf"^(?:require|\t)\s*{re.escape(self.release)} (v\S+)",
            self._text("go.mod"),
            re.MULTILINE,
        )
        if pin is None:
            raise LookupError(f"{self.folder / 'go.mod'} does not require {self.release}")
        return pin[1]

    @property
    def built(self) -> Path:
        """Where the programs of exactly this go.mod and go.sum are kept."""
        pinned = "".join(self._text(p.name) for p in sorted(self.folder.iterdir()))
        digest = hashlib.sha256(pinned.encode()).hexdigest()[:12]
        return cache() / "bin" / f"{self.name}-{self.version}-{digest}"

    def _text(self, name: str) -> str:
        return (self.folder / name).read_text()


def _kubernetes(*programs: str) -> dict[str, str]:
    return {name: f"k8s.io/kubernetes/cmd/{name}" for name in programs}


_KUBERNETES = Module(
    "kubernetes",
    "k8s.io/kubernetes",
    {
        **_kubernetes(
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
        ),
        "etcd": "go.etcd.io/etcd/server/v3",
    },
    (
        "k8s.io/component-base/version.gitVersion",
        "k8s.io/client-go/pkg/version.gitVersion",
    ),
)
_PAUSE = Module("pause", "", {"pause": "."})
_COREDNS = Module("coredns", "github.com/coredns/coredns", {"coredns": "."})
HELM = Module("helm", "helm.sh/helm/v3", {"helm": "helm.sh/helm/v3/cmd/helm"})
_CHECKS = Module(
    "checks",
    "github.com/yannh/kubeconform",
    {
        "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform",
        "kube-score": "github.com/zegl/kube-score/cmd/kube-score",
    },
)
SKAFFOLD = Module(
    "skaffold",
    "github.com/GoogleContainerTools/skaffold/v2",
    {"skaffold": "github.com/GoogleContainerTools/skaffold/v2/cmd/skaffold"},
)

CLUSTER = (_PAUSE, _KUBERNETES, _COREDNS)
"""What a cluster is made of."""
TOOLS = (HELM, _CHECKS)
"""What installs and checks the chart."""
_ALL = (*CLUSTER, *TOOLS, SKAFFOLD)


def build(*modules: Module) -> None:
    """Build what the cache lacks."""
    for module in modules:
        if not module.built.is_dir():
            with step(f"Building {', '.join(module.programs)} {module.version}"):
                _compile(module)


def path(program: str) -> Path:
    """The program as the cache has it."""
    for module in _ALL:
        if program in module.programs:
            return module.built / program
    raise LookupError(f"no Go module here builds {program}")


def version(program: str) -> str:
    """The version of a program that some module here pins."""
    return next(m.version for m in _ALL if program in m.programs)


def _compile(module: Module) -> None:
    unfinished = module.built.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    stamps = " ".join(f"-X {name}={module.version}" for name in module.version_variables)
    for program, package in module.programs.items():
        output(
            [*_GO_BUILD, "-ldflags", f"-s -w {stamps}", "-o", unfinished / program, package],
            cwd=module.folder,
            env={"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"},
        )
    unfinished.rename(module.built)
