"""What each image promises, read off its Dockerfile: stages, user, labels, settings, layers."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("Dockerfile.cpu", "Dockerfile.gpu")
IMAGES = [
    ("Dockerfile.cpu", "service"),
    ("Dockerfile.cpu", "operator"),
    ("Dockerfile.gpu", "service"),
]


@dataclass
class Stage:
    """A FROM and the instructions below it."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        """The arguments of every instruction of a kind."""
        return [arguments for kind, arguments in self.instructions if kind == word]


def stages(file: str) -> dict[str, Stage]:
    """A Dockerfile's stages by name."""
    text = "\n".join(
        line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#")
    )
    found: dict[str, Stage] = {}
    current = Stage("")
    for line in text.replace("\\\n", " ").splitlines():
        word, _, arguments = line.strip().partition(" ")
        if word == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", arguments).groups()
            current = found[name] = Stage(base)
        elif word:
            current.instructions.append((word, " ".join(arguments.split())))
    return found


def lineage(file: str, target: str) -> list[tuple[str, str]]:
    """Every instruction that an image is made by, its bases' first."""
    every = stages(file)
    stage = every[target]
    before = lineage(file, stage.base) if stage.base in every else []
    return [*before, *stage.instructions]


def settings(file: str, target: str) -> str:
    """Every variable an image sets."""
    return " ".join(arguments for word, arguments in lineage(file, target) if word == "ENV")


@pytest.mark.parametrize(("file", "target"), IMAGES)
def test_an_image_runs_as_a_numeric_user_that_is_not_root(file: str, target: str) -> None:
    users = [arguments for word, arguments in lineage(file, target) if word == "USER"]

    assert users == ["65532:65532"]


@pytest.mark.parametrize(("file", "target"), IMAGES)
def test_an_image_says_what_it_is(file: str, target: str) -> None:
    labels = " ".join(stages(file)[target].all("LABEL"))

    for name in ("title", "description", "licenses"):
        assert f"org.opencontainers.image.{name}=" in labels


@pytest.mark.parametrize(("file", "target"), IMAGES)
def test_code_comes_last_so_that_a_change_of_it_rebuilds_little(file: str, target: str) -> None:
    words = [
        (word, arguments) for word, arguments in lineage(file, target) if word in {"RUN", "COPY"}
    ]

    assert words[-1][0] == "COPY"
    assert words[-1][1].startswith("--from=code ")
    assert not any("smart_embedder" in arguments for _, arguments in words[:-1])


@pytest.mark.parametrize(("file", "target"), IMAGES)
def test_packages_are_hashed_and_leave_no_cache_behind(file: str, target: str) -> None:
    [install] = [a for w, a in lineage(file, target) if w == "RUN" and "image-packages" in a]

    script = (ROOT / "scripts" / "image-packages").read_text()
    assert "--mount=type=cache,target=/var/cache/uv " in install
    assert "export UV_CACHE_DIR=/var/cache/uv " in script
    assert "install --require-hashes -r" in script
    assert "--no-cache-dir" in script


@pytest.mark.parametrize("file", FILES)
def test_the_service_is_what_a_plain_build_makes(file: str) -> None:
    assert list(stages(file))[-1] == "service"


@pytest.mark.parametrize("file", FILES)
def test_the_service_keeps_models_in_a_volume_and_has_a_healthcheck_without_a_shell(
    file: str,
) -> None:
    service = stages(file)["service"]

    assert service.all("VOLUME") == ["/models"]
    assert "HF_HOME=/models" in settings(file, "service")
    assert re.search(r'CMD \["python3", "-c"', service.all("HEALTHCHECK")[0])
    assert service.all("ENTRYPOINT") == ['["smart-embedder"]']


@pytest.mark.parametrize("file", FILES)
def test_base_and_torchs_index_are_arguments(file: str) -> None:
    text = (ROOT / file).read_text()

    assert re.search(r"^ARG BASE_IMAGE=\S+$", text, re.MULTILINE)
    assert re.search(r"^ARG TORCH_INDEX=", text, re.MULTILINE)


def test_the_cpu_image_takes_torchs_cpu_wheels_and_the_gpu_image_a_recent_cuda() -> None:
    cpu, gpu = ((ROOT / file).read_text() for file in FILES)

    assert "ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu" in cpu
    cuda = re.search(r"ARG BASE_IMAGE=nvidia/cuda:(\d+)\.(\d+)", gpu)
    assert (int(cuda[1]), int(cuda[2])) >= (12, 6)


def test_the_gpu_image_lets_torch_grow_its_memory_in_segments() -> None:
    variable = "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
    assert variable in settings("Dockerfile.gpu", "service")


@pytest.mark.parametrize(("file", "target"), IMAGES)
def test_each_image_carries_only_its_own_packages(file: str, target: str) -> None:
    [install] = [a for w, a in lineage(file, target) if w == "RUN" and "image-packages" in a]

    assert f"/opt/requirements/{target}.txt" in install


def test_what_the_images_copy_is_in_the_build_context() -> None:
    admitted = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    copied = {
        source
        for file in FILES
        for stage in stages(file).values()
        for arguments in stage.all("COPY")
        if not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    }

    assert copied == admitted
    assert all((ROOT / name).exists() for name in admitted)
