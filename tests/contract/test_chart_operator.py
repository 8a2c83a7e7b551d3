"""What the chart tells the operator is what the operator can be told."""

import re
from pathlib import Path

import yaml

from smart_embedder_operator.profiles import load_profiles
from smart_embedder_operator.settings import PREFIX, Settings

CHART = Path(__file__).parents[2] / "charts/smart-embedder"


def test_every_variable_of_the_chart_is_a_setting_of_the_operator() -> None:
    source = (CHART / "templates/deployment.yaml").read_text()
    variables = set(re.findall(rf"name: {PREFIX}(\w+)", source))

    assert variables
    assert variables <= {name.upper() for name in Settings.__struct_fields__}


def test_every_profile_of_the_chart_is_one_the_operator_can_read() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    read = load_profiles(values["defaultProfiles"])

    assert read.keys() == values["defaultProfiles"].keys() | {"cpu", "nvidia"}
    assert all(read[name].device == "cuda" for name in read if name.startswith("nvidia"))


def test_the_probes_ask_the_port_and_paths_the_operator_answers() -> None:
    source = (CHART / "templates/deployment.yaml").read_text()

    assert f"containerPort: {Settings().probe_port}" in source
    assert {"/healthz", "/readyz"} == set(re.findall(r"path: (/\w+),", source))
