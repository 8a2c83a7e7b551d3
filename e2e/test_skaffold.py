"""skaffold.yaml as the real skaffold reads it; building that takes minutes: not a core case."""

import pytest
import yaml

from e2e.cluster import binaries
from e2e.cluster.commands import output
from e2e.cluster.images import REPOSITORY


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("profile", "dockerfile"), [("cpu", "Dockerfile.cpu"), ("gpu", "Dockerfile.gpu")]
)
def test_skaffold_understands_a_profile(profile: str, dockerfile: str) -> None:
    binaries.build(binaries.SKAFFOLD)
    read = output(
        [binaries.path("skaffold"), "diagnose", "--yaml-only", "--profile", profile],
        cwd=REPOSITORY,
        env={"SKAFFOLD_UPDATE_CHECK": "false", "SKAFFOLD_INTERACTIVE": "false"},
    )

    [config] = [one for one in yaml.safe_load_all(read) if one]
    images = {artifact["image"]: artifact for artifact in config["build"]["artifacts"]}
    assert images["smart-embedder"]["docker"]["dockerfile"].endswith(dockerfile)
    assert "smart-embedder-operator" in images
