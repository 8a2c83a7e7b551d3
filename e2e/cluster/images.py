"""Builds images with buildah and lays them out where the cluster's registry serves them from."""

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster import binaries
from e2e.cluster.commands import Argument, output
from e2e.cluster.layout import cache

REPOSITORY = Path(__file__).parents[2]
SANDBOX = "localhost/pause:1"
BASE = "localhost/debian:bookworm"
SUITE = "bookworm"
DEBIAN = "http://deb.debian.org/debian"
_RUN = "/run/smart-embedder-images"
_APART = ("nice", "unshare", "--mount", "--propagation", "private")
"""In a mount namespace of its own, or the image store's bind mounts would stay behind."""


def coredns() -> str:
    """The image of the cluster's DNS."""
    return f"localhost/coredns:{binaries.version('coredns')}"


@dataclass(frozen=True)
class Recipe:
    """One image of this project: which target of which Dockerfile."""

    name: str
    dockerfile: str
    target: str


SERVICE = Recipe("localhost/smart-embedder", "Dockerfile.cpu", "service")
OPERATOR = Recipe("localhost/smart-embedder-operator", "Dockerfile.cpu", "operator")


def store() -> Path:
    """The OCI layout that the registry serves; layers that images share are in it once."""
    return cache() / "registry"


def build(recipe: Recipe, arguments: Mapping[str, str] | None = None) -> str:
    """Build an image of this project on the bootstrapped base; its tag names its content."""
    build_base()
    settings = {"BASE_IMAGE": BASE, "TORCH_INDEX": "", **(arguments or {})}
    words = [
        word for name, value in settings.items() for word in ("--build-arg", f"{name}={value}")
    ]
    certificates = "/etc/ssl/certs:/etc/ssl/certs:ro"  # a company's own authority, if it has one
    image = (
        _buildah(
            "bud",
            "--quiet",
            "--layers",
            "--network",
            "host",
            "--volume",
            certificates,
            *words,
            "--target",
            recipe.target,
            "--file",
            REPOSITORY / recipe.dockerfile,
            REPOSITORY,
        )
        .strip()
        .splitlines()[-1]
    )
    reference = f"{recipe.name}:{image[:12]}"
    _buildah("tag", image, reference)
    return reference


def publish(reference: str) -> None:
    """Put a built image where nodes find it, uncompressed: compressing costs minutes."""
    with _alone():
        if reference not in published():
            source = f"containers-storage:[overlay@{cache() / 'images'}+{_RUN}]{reference}"
            copy = ["skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers"]
            output([*_APART, *copy, source, f"oci:{store()}:{reference}"])


def published() -> dict[str, str]:
    """Reference → digest of its manifest, for each image in the registry."""
    index = store() / "index.json"
    listed = json.loads(index.read_text())["manifests"] if index.exists() else []
    name = "org.opencontainers.image.ref.name"
    return {entry["annotations"][name]: entry["digest"] for entry in listed}


def size(reference: str) -> int:
    """The bytes of an image's layers, unpacked."""
    return int(json.loads(_buildah("inspect", "--type", "image", reference)).get("Size", 0)) or sum(
        blob["size"] for blob in _manifest(reference)["layers"]
    )


def build_base() -> None:
    """A Debian with Python, straight from Debian's own archive; built once."""
    if not _exists(BASE):
        root = cache() / "debian.unfinished"
        shutil.rmtree(root, ignore_errors=True)
        extras = "--include=python3,python3-venv,ca-certificates"
        output(["debootstrap", "--variant=minbase", extras, SUITE, root, DEBIAN])
        _from_scratch(BASE, root, "/")
        shutil.rmtree(root)
    publish(BASE)


def build_system() -> None:
    """The images that the cluster itself runs: the sandbox and DNS."""
    for reference, program in ((SANDBOX, "pause"), (coredns(), "coredns")):
        if not _exists(reference):
            _from_scratch(
                reference, binaries.path(program), f"/{program}", entrypoint=f"/{program}"
            )
        publish(reference)


def prune(keep: set[str]) -> None:
    """Forget images of this project that are not in `keep`, and the layers that only they had."""
    wanted = {
        name: digest for name, digest in published().items() if not _ours(name) or name in keep
    }
    index = store() / "index.json"
    content = json.loads(index.read_text())
    content["manifests"] = [one for one in content["manifests"] if one["digest"] in wanted.values()]
    index.write_text(json.dumps(content))
    used = {digest for name in wanted for digest in _digests(name)}
    for blob in (store() / "blobs" / "sha256").iterdir():
        if f"sha256:{blob.name}" not in used:
            blob.unlink()


@contextmanager
def _alone() -> Iterator[None]:
    """One writer at a time: the layout's index is rewritten as a whole."""
    store().mkdir(parents=True, exist_ok=True)
    with (store() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _ours(reference: str) -> bool:
    return reference.rpartition(":")[0] in {SERVICE.name, OPERATOR.name}


def _digests(reference: str) -> list[str]:
    manifest = _manifest(reference)
    layers = [layer["digest"] for layer in manifest["layers"]]
    return [published()[reference], manifest["config"]["digest"], *layers]


def _manifest(reference: str) -> Any:
    digest = published()[reference].removeprefix("sha256:")
    return json.loads((store() / "blobs" / "sha256" / digest).read_text())


def _from_scratch(reference: str, source: Path, target: str, entrypoint: str = "") -> None:
    container = _buildah("from", "scratch").strip()
    _buildah("add", "--quiet", container, source, target)
    if entrypoint:
        _buildah(
            "config", "--entrypoint", json.dumps([entrypoint]), "--user", "65532:65532", container
        )
    _buildah("commit", "--quiet", "--rm", container, reference)


def _exists(reference: str) -> bool:
    return reference in _buildah("images", "--format", "{{.Name}}:{{.Tag}}").split()


def _buildah(*words: Argument) -> str:
    places: list[Argument] = ["--root", cache() / "images", "--runroot", _RUN]
    how = {"STORAGE_DRIVER": "overlay", "BUILDAH_ISOLATION": "chroot"}
    return output([*_APART, "buildah", *places, *words], env=how)
