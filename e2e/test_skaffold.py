"""skaffold.yaml as the real skaffold reads it; building that takes minutes: not a core case."""

import pytest
import yaml

from e2e.cluster import binaries
from e2e.cluster.commands import output
from e2e.cluster.images import REPOSITORY


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("profiles", "dockerfile", "target"),
    [
        ("cpu", "Dockerfile.cpu", "service"),
        ("gpu", "Dockerfile.gpu", "service"),
        ("sync", "Dockerfile.cpu", "dev"),
        ("sync,gpu", "Dockerfile.gpu", "dev"),
    ],
)
def test_skaffold_understands_its_profiles(profiles: str, dockerfile: str, target: str) -> None:
    binaries.build(binaries.SKAFFOLD)
    read = output(
        [binaries.path("skaffold"), "diagnose", "--yaml-only", "--profile", profiles],
        cwd=REPOSITORY,
        env={"SKAFFOLD_UPDATE_CHECK": "false", "SKAFFOLD_INTERACTIVE": "false"},
    )

    [config] = [one for one in yaml.safe_load_all(read) if one]
    images = {artifact["image"]: artifact for artifact in config["build"]["artifacts"]}
    docker = images["smart-embedder"]["docker"]
    assert docker["dockerfile"].endswith(dockerfile)
    assert docker["target"] == target
    assert ("sync" in images["smart-embedder"]) == (target == "dev")
    assert "smart-embedder-operator" in images
