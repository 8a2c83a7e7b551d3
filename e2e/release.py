"""A helm release of the chart: packaged, installed, upgraded, tested, rolled back, uninstalled."""

from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.commands import output
from e2e.cluster.images import REPOSITORY
from e2e.cluster.kubectl import Kubectl
from e2e.target import helm

CHART = REPOSITORY / "charts" / "smart-embedder"


@dataclass(frozen=True)
class Version:
    """A chart, in its folder or packaged, and the images it is to run."""

    chart: Path
    operator: str
    service: str

    @property
    def values(self) -> list[str]:
        """What says so to helm."""
        return [*_image("image", self.operator), *_image("service.image", self.service)]


@dataclass(frozen=True)
class Release:
    """One release by name, there or not."""

    kubectl: Kubectl
    name: str
    namespace: str

    def upgrade(self, version: Version, *settings: str) -> str:
        """Install it, or bring it to another version or other values; returns what helm says."""
        values = [*version.values, *settings]
        flags = [word for value in values for word in ("--set-json", value)]
        patience = ["--create-namespace", "--wait", "--timeout=3m"]
        return self._helm("upgrade", "--install", self.name, version.chart, *patience, *flags)

    def test(self) -> str:
        """What `helm test` says; raises CommandFailed unless it succeeds."""
        return self._helm("test", self.name, "--timeout=5m")

    def rollback(self) -> None:
        """Back to the revision before."""
        self._helm("rollback", self.name, "--wait", "--timeout=3m")

    def uninstall(self) -> None:
        """Take away what it installed; what is to be kept stays."""
        self._helm("uninstall", self.name, "--ignore-not-found", "--wait", "--timeout=3m")

    def _helm(self, *words: str | Path) -> str:
        where = ["--kubeconfig", self.kubectl.kubeconfig, "--namespace", self.namespace]
        return output([helm(), *words, *where])


def package(chart: Path, folder: Path, version: str | None = None) -> Path:
    """The chart as an archive, as it is released; `version` says another than its own."""
    named = ["--version", version, "--app-version", version] if version else []
    said = output([helm(), "package", chart, "--destination", folder, *named])
    return Path(said.strip().rpartition(": ")[2])


def previous_chart(folder: Path) -> Path:
    """The chart of the last release; today's under a lower version while there is none here."""
    released = output(
        ["git", "tag", "--merged=HEAD", "--sort=-version:refname", "--list", "v*"], cwd=REPOSITORY
    )
    if not released:
        return package(CHART, folder, "0.0.1")
    source = CHART.relative_to(REPOSITORY)
    archive = folder / "released.tar"
    output(["git", "archive", f"--output={archive}", released.split()[0], source], cwd=REPOSITORY)
    output(["tar", "-xf", archive, "-C", folder])
    return package(folder / source, folder)


def _image(value: str, reference: str) -> list[str]:
    name, _, tag = reference.rpartition(":")
    registry, _, repository = name.partition("/")
    parts = {"registry": registry, "repository": repository, "tag": tag}
    return [f'{value}.{part}="{text}"' for part, text in parts.items()]
