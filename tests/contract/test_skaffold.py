"""skaffold.yaml against skaffold's own schema and against the files it names."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
MODULE = "github.com/GoogleContainerTools/skaffold/v2@v2.16.1"
CONFIG = yaml.safe_load((ROOT / "skaffold.yaml").read_text())


@cache
def schema() -> Any:
    """The schema of our apiVersion, out of skaffold's Go module."""
    downloaded = subprocess.run(
        ["go", "mod", "download", "-json", MODULE], capture_output=True, check=True, cwd="/"
    )
    version = CONFIG["apiVersion"].removeprefix("skaffold/")
    schemas = Path(json.loads(downloaded.stdout)["Dir"]) / "docs-v2" / "content" / "en" / "schemas"
    return json.loads((schemas / f"{version}.json").read_text())


@pytest.mark.skipif(shutil.which("go") is None, reason="the schema comes out of a Go module")
def test_skaffold_yaml_is_valid_by_skaffolds_own_schema() -> None:
    jsonschema.validate(CONFIG, schema())


@pytest.mark.skipif(shutil.which("go") is None, reason="the schema comes out of a Go module")
def test_the_schema_would_refuse_a_typo() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**CONFIG, "biuld": {}}, schema())


def test_every_profile_builds_the_two_images_that_the_chart_is_given() -> None:
    [release] = CONFIG["deploy"]["helm"]["releases"]
    wanted = {artifact["image"] for artifact in CONFIG["build"]["artifacts"]}
    profiles = {profile["name"]: profile for profile in CONFIG["profiles"]}

    assert set(profiles) == {"sync", "cpu", "gpu", "local"}
    local = profiles["local"]["build"]["artifacts"]
    assert {artifact["image"] for artifact in local} == wanted
    templates = " ".join(release["setValueTemplates"].values())
    assert all(f"IMAGE_TAG_{image.replace('-', '_')}" in templates for image in wanted)


def test_the_files_it_names_are_there() -> None:
    named = [*CONFIG["manifests"]["rawYaml"], CONFIG["deploy"]["helm"]["releases"][0]["chartPath"]]
    named += [artifact["docker"]["dockerfile"] for artifact in CONFIG["build"]["artifacts"]]
    patches = [patch for p in CONFIG["profiles"] for patch in p.get("patches", [])]
    files = ("/dockerfile", "/rawYaml/0")
    named += [patch["value"] for patch in patches if patch["path"].endswith(files)]

    assert all((ROOT / name).exists() for name in named)
