"""What `render` prints, and the goldens that show a reviewer what a change does to a cluster."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from smart_embedder_operator.platform import Platform
from smart_embedder_operator.render import NotRendered, render

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[2] / "examples"


@pytest.mark.parametrize("name", ["quickstart", "full-gpu"])
def test_the_goldens_hold(platform: Platform, name: str) -> None:
    golden = HERE / "golden" / f"{name}.yaml"
    rendered = render((EXAMPLES / f"{name}.yaml").read_text(), platform)
    assert rendered == golden.read_text(), f"if it is meant: render {name} into {golden.name}"


def test_every_example_renders(platform: Platform) -> None:
    for file in EXAMPLES.glob("*.yaml"):
        kinds = {item["kind"] for item in yaml.safe_load_all(render(file.read_text(), platform))}
        assert {"Deployment", "Service", "ConfigMap", "NetworkPolicy"} <= kinds


def test_the_number_of_pods_stands_where_a_reader_looks(platform: Platform) -> None:
    text = (EXAMPLES / "quickstart.yaml").read_text() + "  replicas: 3\n"
    items: list[Any] = list(yaml.safe_load_all(render(text, platform)))
    (deployment,) = (item for item in items if item["kind"] == "Deployment")
    assert deployment["spec"]["replicas"] == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Pod", "there is no Embedder"),
        ("kind: Embedder\nmetadata: {name: a}\nspec: {models: {}}", "a: name at least one model"),
        (
            "kind: Embedder\nmetadata: {name: a}\nspec: {models: {embedding: x}, paused: true}",
            "a is paused",
        ),
    ],
)
def test_what_cannot_be_rendered_is_told(platform: Platform, text: str, words: str) -> None:
    with pytest.raises(NotRendered, match=words):
        render(text, platform)


def test_profiles_come_from_the_platform(platform: Platform) -> None:
    few = msgspec.structs.replace(platform, profiles={})
    with pytest.raises(NotRendered, match="cpu-small"):
        render((EXAMPLES / "quickstart.yaml").read_text(), few)
