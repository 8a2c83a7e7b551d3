"""Which cluster is used and how images get into it: a given one, kind or k3d, or the embedded."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from e2e.cluster import binaries, images
from e2e.cluster.cluster import EmbeddedCluster
from e2e.cluster.commands import CommandFailed, output
from e2e.cluster.images import Recipe
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.layout import DEFAULT_NAME, cache
from e2e.cluster.progress import step
from e2e.cluster.trouble import Trouble

IMAGE_VARIABLES = {
    images.SERVICE: "SERVICE_IMAGE",
    images.GPU_SERVICE: "GPU_SERVICE_IMAGE",
    images.DEVELOPMENT: "DEVELOPMENT_IMAGE",
    images.OPERATOR: "OPERATOR_IMAGE",
}
"""Name images that are already in a registry the given cluster can pull from."""

NAME_VARIABLE = "CLUSTER_NAME"
"""Names the embedded cluster, so that two people's cases run side by side."""


class Target(Protocol):
    """A cluster to install into."""

    @property
    def kubectl(self) -> Kubectl:
        """The way in."""

    def up(self) -> None:
        """Start it unless it runs."""

    def down(self) -> None:
        """Take it away, if it is ours."""

    def image(self, recipe: Recipe) -> str:
        """Build an image, bring it in, and name it."""


class NoImage(Trouble):
    """An image cannot be brought into this cluster; the message says what to do."""


class Embedded:
    """The cluster of e2e/cluster."""

    def __init__(self, name: str | None = None) -> None:
        """Nothing is started yet."""
        self.cluster = EmbeddedCluster(name or os.environ.get(NAME_VARIABLE, DEFAULT_NAME))
        self.kubectl = self.cluster.kubectl

    def up(self) -> None:
        """One node is enough for the quickstart; more stay as they are."""
        self.cluster.up()

    def down(self) -> None:
        """Leave nothing of it; the images of before only where no other cluster may want them."""
        with step("Ending the embedded cluster"):
            self.cluster.down()
            if not EmbeddedCluster.any_runs():
                images.prune()

    def image(self, recipe: Recipe) -> str:
        """Build with buildah; nodes fetch the image when a pod needs it."""
        reference = images.build(recipe)
        self.cluster.load_image(reference)
        return reference


@dataclass(frozen=True)
class Docker:
    """A kind or k3d cluster, made here where Docker runs."""

    tool: str
    cluster: str = DEFAULT_NAME

    @property
    def kubectl(self) -> Kubectl:
        """Through a kubeconfig of its own: the person's is left alone."""
        return Kubectl(self._kubeconfig, program=_program("kubectl"))

    def up(self) -> None:
        """Create the cluster unless it is there."""
        self._kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        if self.cluster in self._clusters():
            return
        with step(f"Creating a {self.tool} cluster"):
            create = {
                "kind": ["kind", "create", "cluster", "--wait=2m", "--name", self.cluster],
                "k3d": ["k3d", "cluster", "create", "--wait", self.cluster],
            }
            output(create[self.tool], env={"KUBECONFIG": str(self._kubeconfig)})

    def down(self) -> None:
        """Delete the cluster."""
        with step(f"Deleting the {self.tool} cluster"):
            delete = {
                "kind": ["kind", "delete", "cluster", "--name", self.cluster],
                "k3d": ["k3d", "cluster", "delete", self.cluster],
            }
            output(delete[self.tool], env={"KUBECONFIG": str(self._kubeconfig)})

    def image(self, recipe: Recipe) -> str:
        """Build with Docker and load into the nodes."""
        file = images.REPOSITORY / recipe.dockerfile
        build = ["docker", "build", "--quiet", "--target", recipe.target, "--file", file]
        digest = output([*build, images.REPOSITORY]).strip()
        reference = f"{recipe.name}:{digest.removeprefix('sha256:')[:12]}"
        output(["docker", "tag", digest, reference])
        load = {
            "kind": ["kind", "load", "docker-image", "--name", self.cluster],
            "k3d": ["k3d", "image", "import", "--cluster", self.cluster],
        }
        output([*load[self.tool], reference])
        return reference

    @property
    def _kubeconfig(self) -> Path:
        return cache() / f"{self.tool}.kubeconfig"

    def _clusters(self) -> list[str]:
        listing = {
            "kind": ["kind", "get", "clusters"],
            "k3d": ["k3d", "cluster", "list", "--no-headers"],
        }
        return [line.split()[0] for line in output(listing[self.tool]).splitlines() if line]


class Given:
    """The cluster that KUBECONFIG names; it is not ours to start or end."""

    def __init__(self, kubeconfig: Path) -> None:
        """Nothing is asked of it yet."""
        self.kubectl = Kubectl(kubeconfig, program=_program("kubectl"))

    def up(self) -> None:
        """It is expected to answer."""
        self.kubectl("version")

    def down(self) -> None:
        """It stays."""

    def image(self, recipe: Recipe) -> str:
        """The image named in the environment; kind and k3d clusters get one built here."""
        if named := os.environ.get(IMAGE_VARIABLES[recipe]):
            return named
        context = self.kubectl("config", "current-context").strip()
        tool, _, cluster = context.partition("-")
        if tool in {"kind", "k3d"}:
            return Docker(tool, cluster).image(recipe)
        raise NoImage(
            f"Push the image to a registry that {context} can pull from and name it:"
            f" {IMAGE_VARIABLES[recipe]}=registry/name:tag"
        )


def choose() -> Target:
    """KUBECONFIG's cluster; else kind or k3d where Docker runs; else the embedded one."""
    embedded = Embedded()
    given = os.environ.get("KUBECONFIG")
    if given and Path(given) != embedded.cluster.layout.kubeconfig:
        return Given(Path(given))
    for tool in ("kind", "k3d"):
        if not given and shutil.which(tool) and _docker_runs():
            return Docker(tool)
    return embedded


def helm() -> Path:
    """The helm on this machine, or one built here."""
    if found := shutil.which("helm"):
        return Path(found)
    binaries.build(binaries.HELM)
    return binaries.path("helm")


def _program(name: str) -> Path:
    return Path(shutil.which(name) or binaries.path(name))


def _docker_runs() -> bool:
    try:
        output(["docker", "info"], timeout=10)
    except (CommandFailed, FileNotFoundError):
        return False
    return True
