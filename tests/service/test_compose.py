"""The compose files, held against the parts of the compose specification they use.

No package carries the specification's schema, so the structs below are ours: the fields of the
specification that these two files may contain, and no others.
"""

import re
from pathlib import Path
from typing import Literal

import msgspec
import pytest
import yaml

from smart_embedder.settings import Settings

ROOT = Path(__file__).parents[2]


class Build(msgspec.Struct, forbid_unknown_fields=True):
    context: str
    dockerfile: str


class EnvFile(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    required: bool = True


class Device(msgspec.Struct, forbid_unknown_fields=True):
    capabilities: list[str]
    driver: str = ""
    count: int | Literal["all"] = "all"


class Reservations(msgspec.Struct, forbid_unknown_fields=True):
    devices: list[Device]


class Resources(msgspec.Struct, forbid_unknown_fields=True):
    reservations: Reservations


class Deploy(msgspec.Struct, forbid_unknown_fields=True):
    resources: Resources


class Healthcheck(msgspec.Struct, forbid_unknown_fields=True):
    test: list[str]
    interval: str
    timeout: str
    start_period: str
    retries: int


class Service(msgspec.Struct, forbid_unknown_fields=True):
    image: str
    build: Build
    container_name: str
    entrypoint: list[str] | None = None
    command: list[str] = []
    environment: list[str] = []
    env_file: list[EnvFile] = []
    ports: list[str] = []
    volumes: list[str] = []
    tmpfs: list[str] = []
    cap_drop: list[str] = []
    security_opt: list[str] = []
    read_only: bool = False
    restart: Literal["no", "always", "on-failure", "unless-stopped"] = "no"
    stop_grace_period: str = "10s"
    healthcheck: Healthcheck | None = None
    deploy: Deploy | Literal["reset"] | None = None


class Volume(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Compose(msgspec.Struct, forbid_unknown_fields=True):
    services: dict[str, Service]
    name: str = ""
    volumes: dict[str, Volume] = {}


class Loader(yaml.SafeLoader):
    """YAML with the one tag of the specification that the files use."""


Loader.add_constructor("!reset", lambda *_: "reset")


def read(kind: str) -> Service:
    text = (ROOT / f"docker-compose.{kind}.yml").read_text()
    compose = msgspec.convert(yaml.load(text, Loader), Compose)
    assert list(compose.services) == ["embedder"]
    return compose.services["embedder"]


@pytest.mark.parametrize("kind", ["gpu", "cpu"])
def test_a_compose_file_is_valid_and_builds_its_own_image(kind: str) -> None:
    service = read(kind)
    assert service.image == f"smart-embedder:{kind}"
    assert service.container_name == f"smart-embedder-{kind}"
    assert service.build == Build(context=".", dockerfile=f"Dockerfile.{kind}")


def test_the_gpu_file_reserves_a_gpu_and_the_cpu_override_takes_it_away() -> None:
    gpu = read("gpu").deploy
    assert isinstance(gpu, Deploy)
    assert gpu.resources.reservations.devices[0].capabilities == ["gpu"]
    assert read("cpu").deploy == "reset"


def test_each_file_asks_for_its_device_by_name() -> None:
    assert "MODEL_DEVICE=cuda" in read("gpu").environment
    assert "MODEL_DEVICE=cpu" in read("cpu").environment


def test_the_models_are_kept_in_the_named_cache_volume() -> None:
    text = (ROOT / "docker-compose.gpu.yml").read_text()
    compose = msgspec.convert(yaml.load(text, Loader), Compose)
    assert compose.volumes == {"smart-embedder-hf-cache": Volume(name="smart-embedder-hf-cache")}
    gpu = compose.services["embedder"]
    assert gpu.volumes == ["smart-embedder-hf-cache:/models"]


@pytest.mark.parametrize("kind", ["gpu", "cpu"])
def test_the_image_keeps_its_models_where_the_volume_is_and_may_write_there(kind: str) -> None:
    lines = (ROOT / f"Dockerfile.{kind}").read_text()
    assert "HF_HOME=/models" in lines
    user = re.search(r"^USER (\d+):\1$", lines.rpartition("VOLUME /models")[2], re.MULTILINE)
    assert user
    assert f"install -d -o {user[1]} -g {user[1]} /models" in lines


def test_every_variable_that_is_handed_on_is_a_setting() -> None:
    names = {entry.partition("=")[0] for kind in ("gpu", "cpu") for entry in read(kind).environment}
    unknown = {name for name in names if name.lower() not in Settings.model_fields}
    assert unknown == {"PYTORCH_CUDA_ALLOC_CONF"}  # torch reads it itself


def test_a_command_in_the_image_need_not_be_the_services() -> None:
    gpu = read("gpu")
    assert (gpu.entrypoint, gpu.command) == ([], ["smart-embedder", "serve"])


def test_every_limit_of_the_hybrid_server_is_handed_on() -> None:
    names = {entry.partition("=")[0] for entry in read("gpu").environment}
    limits = {
        name.upper()
        for name, field in Settings.model_fields.items()
        if name.startswith(("bge_", "qwen_", "rate_limit_", "rerank_"))
        or name == "max_input_length"
    }
    assert limits <= names


def test_only_this_machine_can_connect_and_the_port_moves_outside_only() -> None:
    gpu = read("gpu")
    assert gpu.ports == ["127.0.0.1:${PORT:-8000}:8000"]
    assert "PORT=8000" in gpu.environment


def test_the_container_cannot_write_or_gain_rights() -> None:
    gpu = read("gpu")
    assert gpu.read_only
    assert gpu.cap_drop == ["ALL"]
    assert gpu.security_opt == ["no-new-privileges:true"]


def test_the_container_is_given_longer_than_the_drain_budget() -> None:
    assert int(read("gpu").stop_grace_period.removesuffix("s")) > 30
