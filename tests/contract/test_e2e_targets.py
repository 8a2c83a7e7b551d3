"""Which cluster `make up` takes, and how images get into one that Docker carries.

The programs on the PATH are scripts of ours, which write down what they were told.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.cluster.images import OPERATOR
from e2e.target import Docker, Embedded, Given, NoImage, choose

Install = Callable[..., None]
Told = Callable[[], list[str]]
DIGEST = "sha256:0123456789abcdef"


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """What the programs were told, a line each."""
    log = tmp_path / "told"
    return lambda: log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a program on the PATH, with its answer to each first word; it fails at any other."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBECONFIG", raising=False)

    def write(program: str, **answers: str) -> None:
        cases = "".join(f"{word}) echo '{answer}';;\n" for word, answer in answers.items())
        note = f'echo "{program} $*" >> {tmp_path}/told'
        script = f"#!/bin/sh\n{note}\ncase $1 in\n{cases}*) exit 1;;\nesac\n"
        (folder / program).write_text(script)
        (folder / program).chmod(0o755)

    return write


def test_the_cluster_that_kubeconfig_names_comes_first(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("docker", info="")
    install("kind", get="")
    install("kubectl")
    monkeypatch.setenv("KUBECONFIG", "/somewhere/config")

    chosen = choose()

    assert isinstance(chosen, Given)
    assert chosen.kubectl.kubeconfig == Path("/somewhere/config")


@pytest.mark.parametrize("tool", ["kind", "k3d"])
def test_where_docker_runs_kind_or_k3d_makes_one(install: Install, tool: str) -> None:
    install("docker", info="")
    install(tool)
    install("kubectl")

    assert choose() == Docker(tool)


def test_a_docker_without_an_engine_is_none(install: Install) -> None:
    install("docker")
    install("kind")

    assert isinstance(choose(), Embedded)


def test_a_kind_cluster_is_made_once_and_deleted(install: Install, told: Told) -> None:
    install("kind", get="", create="", delete="")
    Docker("kind", "mine").up()
    install("kind", get="mine", delete="")
    Docker("kind", "mine").up()
    Docker("kind", "mine").down()

    asked = [line for line in told() if " get " not in line]
    assert asked == ["kind create cluster --wait=2m --name mine", "kind delete cluster --name mine"]


@pytest.mark.parametrize(
    ("tool", "loading"),
    [
        ("kind", "kind load docker-image --name mine"),
        ("k3d", "k3d image import --cluster mine"),
    ],
)
def test_an_image_is_built_by_docker_and_named_by_its_content(
    install: Install, told: Told, tool: str, loading: str
) -> None:
    install("docker", build=DIGEST, tag="")
    install(tool, load="", image="")

    reference = Docker(tool, "mine").image(OPERATOR)

    assert reference == f"{OPERATOR.name}:0123456789ab"
    built, tagged, loaded = told()
    assert f"--target {OPERATOR.target}" in built
    assert tagged == f"docker tag {DIGEST} {reference}"
    assert loaded == f"{loading} {reference}"


def test_a_given_kind_cluster_gets_its_images_built_here(
    install: Install, told: Told, tmp_path: Path
) -> None:
    install("docker", build=DIGEST, tag="")
    install("kind", load="")
    install("kubectl", **{"--kubeconfig": "kind-theirs"})

    Given(tmp_path / "config").image(OPERATOR)

    assert told()[-1].startswith("kind load docker-image --name theirs ")


def test_a_cluster_elsewhere_is_told_which_images_to_pull(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install("kubectl", **{"--kubeconfig": "gke_somewhere"})
    given = Given(tmp_path / "config")

    with pytest.raises(NoImage, match="OPERATOR_IMAGE="):
        given.image(OPERATOR)
    monkeypatch.setenv("OPERATOR_IMAGE", "registry.example/operator:1")
    assert given.image(OPERATOR) == "registry.example/operator:1"
