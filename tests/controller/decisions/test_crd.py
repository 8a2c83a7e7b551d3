"""The CRD: generated, bounded, described, without defaults, and true to the examples."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from smart_embedder_operator import reference, render, schema

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
Schema = dict[str, Any]


def spec_schema() -> Schema:
    root = schema.crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec: Schema = root["properties"]["spec"]
    return spec


def fields(within: Schema, path: str = "spec") -> Iterator[tuple[str, Schema]]:
    for name, field in within.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from fields(field, f"{path}.{name}")
        yield from fields(field.get("items", {}), f"{path}.{name}[]")


FIELDS = list(fields(spec_schema()))


def test_the_chart_carries_the_generated_crd() -> None:
    written = (ROOT / "charts/smart-embedder/files/crd.yaml").read_text()
    assert written == render.crd(), "run `make crd`"


def test_the_reference_page_is_the_generated_one() -> None:
    written = (ROOT / "docs/embedder.md").read_text()
    assert written == reference.page(), "write `python -m smart_embedder_operator.reference` there"


def test_every_field_teaches_kubectl_explain() -> None:
    assert [path for path, field in FIELDS if not field["description"].endswith((".", ")"))] == []


def test_everything_is_bounded_so_that_rules_have_a_price() -> None:
    assert [path for path, field in FIELDS if not is_bounded(field)] == []


def is_bounded(field: Schema) -> bool:
    match field:
        case {"enum": _} | {"x-kubernetes-preserve-unknown-fields": True}:
            return True
        case {"type": "string"}:
            return "maxLength" in field
        case {"type": "array"}:
            return "maxItems" in field
        case {"type": "object", "additionalProperties": _}:
            return "maxProperties" in field
    return True


def test_nothing_has_a_default_in_the_schema() -> None:
    assert [path for path, field in FIELDS if "default" in field] == []


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_examples_fit_the_schema(file: Path) -> None:
    for manifest in yaml.safe_load_all(file.read_text()):
        closed = jsonschema.Draft202012Validator(close(spec_schema()))
        assert [error.message for error in closed.iter_errors(manifest["spec"])] == []


def close(within: Any) -> Any:
    """Refuse unknown fields, as the API server warns of them."""
    if isinstance(within, list):
        return [close(item) for item in within]
    if not isinstance(within, dict):
        return within
    closed = {key: close(value) for key, value in within.items()}
    if "properties" in within and isinstance(within.get("type"), str):
        closed["additionalProperties"] = False
    return closed


def test_conditions_are_a_map_so_that_writers_do_not_fight() -> None:
    root = schema.crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    conditions = root["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


def test_a_scale_subresource_can_be_scaled_by_label() -> None:
    scale = schema.crd()["spec"]["versions"][0]["subresources"]["scale"]
    assert scale["labelSelectorPath"] == ".status.selector"
