"""What may be written, and what is said to what may not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.spec import InvalidSpec, parse

Write = Callable[..., Manifest]

SPECS = yaml.safe_load((Path(__file__).parent / "specs.yaml").read_text())
BROKEN = [(case["spec"], case["words"]) for case in SPECS["broken"]]
ILL_TYPED: list[tuple[dict[str, Any], str]] = [
    ({"replicas": "two"}, "spec.replicas: expected `int"),
    ({"replcias": 2}, "unknown field `replcias`"),
    ({"models": {"embedding": "a@b@c"}}, "spec.models.embedding: expected `str` matching"),
    ({"service": {"port": 70000}}, "spec.service.port: expected `int` <= 65535"),
]


@pytest.mark.parametrize(("spec", "words"), BROKEN + ILL_TYPED)
def test_a_broken_spec_is_told_what_to_write_instead(
    embedder: Write, spec: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse(embedder(**spec))
    assert words in str(refused.value)


@pytest.mark.parametrize("name", ["a" * 41, "9lives", "Search", "a.b", "a-", ""])
def test_a_name_that_no_service_could_have_is_refused(embedder: Write, name: str) -> None:
    manifest = embedder()
    manifest["metadata"]["name"] = name
    with pytest.raises(InvalidSpec, match="the name of an Embedder"):
        parse(manifest)


def test_every_problem_is_told_at_once(embedder: Write) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse(embedder(models={}, serving={"drainSeconds": 10}, cache={"prewarm": True}))
    assert len(refused.value.problems) == 3


def test_a_model_is_a_name_and_perhaps_a_revision(embedder: Write) -> None:
    models = parse(embedder(models={"embedding": "a/b@main", "reranker": "/models/r"})).spec.models
    assert [(m.name, m.revision) for m in models.by_role.values()] == [
        ("a/b", "main"),
        ("/models/r", None),
    ]
