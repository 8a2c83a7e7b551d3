"""Builds images with buildah and lays them out where the cluster's registry serves them from."""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster import binaries
from e2e.cluster.commands import Argument, output
from e2e.cluster.layout import cache
from e2e.cluster.trouble import Trouble

REPOSITORY = Path(__file__).parents[2]
SANDBOX = "localhost/pause:1"
BASE = "localhost/debian:bookworm"
SUITE = "bookworm"
ROOM = 15 * 10**9
"""Bytes of disk that an image of torch takes in its store, its layout and a node, and some air."""
_NAME = "org.opencontainers.image.ref.name"
_RUN = "/run/smart-embedder-images"
_APART = ("nice", "unshare", "--mount", "--propagation", "private")
"""In a mount namespace of its own, or the image store's bind mounts would stay behind."""


def coredns() -> str:
    """The image of the cluster's DNS."""
    return f"localhost/coredns:{binaries.version('coredns')}"


class DiskFull(Trouble):
    """No room to build an image; the message says how much is needed."""


@dataclass(frozen=True)
class Recipe:
    """One image of this project: which target of which Dockerfile."""

    name: str
    dockerfile: str
    target: str


SERVICE = Recipe("localhost/smart-embedder", "Dockerfile.cpu", "service")
GPU_SERVICE = Recipe("localhost/smart-embedder-gpu", "Dockerfile.gpu", "service")
DEVELOPMENT = Recipe("localhost/smart-embedder-dev", "Dockerfile.cpu", "dev")
OPERATOR = Recipe("localhost/smart-embedder-operator", "Dockerfile.cpu", "operator")


def store() -> Path:
    """The OCI layout that the registry serves; layers that images share are in it once."""
    return cache() / "registry"


def build(recipe: Recipe) -> str:
    """Build an image of this project on the bootstrapped base; its tag names its content."""
    build_base()
    _make_room()
    how = ["--quiet", "--layers", "--network=host"]
    how += ["--volume=/etc/ssl/certs:/etc/ssl/certs:ro"]  # a company's own authority, if it has one
    how += [f"--build-arg=BASE_IMAGE={BASE}", "--build-arg=TORCH_INDEX="]
    what = [f"--target={recipe.target}", f"--file={REPOSITORY / recipe.dockerfile}"]
    image = _buildah("bud", *how, *what, REPOSITORY).split()[-1]
    reference = f"{recipe.name}:{image[:12]}"
    tag(image, reference)
    return reference


def tag(image: str, name: str) -> None:
    """Give a built image another name."""
    _buildah("tag", image, name)


def publish(reference: str, name: str | None = None) -> None:
    """Put a built image where nodes find it, uncompressed: compressing costs minutes.

    `name` is another name to find it by; its layers are there once.
    """
    name = name or reference
    with _alone():
        if name not in published():
            source = f"containers-storage:[overlay@{cache() / 'images'}+{_RUN}]{reference}"
            copy = ["skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers"]
            output([*_APART, *copy, source, f"oci:{store()}:{name}"])


def published() -> dict[str, str]:
    """Reference → digest of its manifest, for each image in the registry."""
    index = store() / "index.json"
    listed = json.loads(index.read_text())["manifests"] if index.exists() else []
    return {entry["annotations"][_NAME]: entry["digest"] for entry in listed}


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
        output(["debootstrap", "--variant=minbase", extras, SUITE, root])
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


def prune() -> None:
    """Of each image of this project keep the newest, and of the layers those that are used."""
    if store().exists():
        prune_layout()
        _forget_all_but(set(published()))


def prune_layout() -> None:
    """Keep the newest image of each name in the registry, and the blobs they are made of."""
    with _alone():
        index = store() / "index.json"
        content = json.loads(index.read_text())
        newest = {one["annotations"][_NAME].rpartition(":")[0]: one for one in content["manifests"]}
        content["manifests"] = list(newest.values())
        index.write_text(json.dumps(content))
        used = {digest for reference in published() for digest in _digests(reference)}
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


def _digests(reference: str) -> list[str]:
    manifest = _manifest(reference)
    layers = [layer["digest"] for layer in manifest["layers"]]
    return [published()[reference], manifest["config"]["digest"], *layers]


def _manifest(reference: str) -> Any:
    digest = published()[reference].removeprefix("sha256:")
    return json.loads((store() / "blobs" / "sha256" / digest).read_text())


def _forget_all_but(references: set[str]) -> None:
    """Let go of built images; their layers stay for the next build until room is needed."""
    built = _buildah("images", "--format", "{{.Name}}:{{.Tag}}").split()
    if gone := [one for one in built if _ours(one) and one not in references]:
        _buildah("rmi", *gone)


def _ours(reference: str) -> bool:
    recipes = (SERVICE, GPU_SERVICE, DEVELOPMENT, OPERATOR)
    return reference.rpartition(":")[0] in {recipe.name for recipe in recipes}


def _make_room() -> None:
    """Give up cached layers before the disk is full; say so where that is not enough."""
    for give_up in (prune, lambda: _buildah("rmi", "--prune", "--force")):
        if shutil.disk_usage(cache()).free > ROOM:
            return
        give_up()
    free = shutil.disk_usage(cache()).free
    if free < ROOM:
        needed = f"{ROOM / 1e9:.0f} GB needed, {free / 1e9:.0f} GB free at {cache()}"
        raise DiskFull(f"{needed}: make room, or set XDG_CACHE_HOME to a larger disk")


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
