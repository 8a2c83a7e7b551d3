"""What may be written, and what is said to what may not."""

from collections.abc import Callable
from typing import Any

import pytest

from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.spec import InvalidSpec, parse

Write = Callable[..., Manifest]

BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"models": {}}, "name at least one model"),
    ({"hardware": {"profile": "cpu", "resources": {}}}, "takes a profile or resources, not both"),
    ({"serving": {"requestTimeoutSeconds": 31}}, "may not exceed drainSeconds"),
    ({"serving": {"drainSeconds": 10}}, "may not exceed drainSeconds"),
    ({"autoscaling": {"mode": "HPA"}}, "needs maxReplicas"),
    ({"autoscaling": {"minReplicas": 3, "maxReplicas": 2}}, "may not exceed maxReplicas"),
    (
        {"autoscaling": {"mode": "HPA", "minReplicas": 0, "maxReplicas": 2}},
        "an HPA cannot wake the first pod",
    ),
    (
        {"autoscaling": {"targetQueueDepth": 8, "targetDrainSeconds": 2}},
        "targetQueueDepth or targetDrainSeconds",
    ),
    (
        {"autoscaling": {"excludeBulk": True, "targetDrainSeconds": 2}},
        "use it with targetQueueDepth",
    ),
    ({"autoscaling": {"mode": "KEDA", "maxReplicas": 2}}, "KEDA needs prometheusAddress"),
    (
        {"replicas": 2, "autoscaling": {"mode": "HPA", "maxReplicas": 4}},
        "remove replicas while an autoscaler scales",
    ),
    ({"replicas": 2, "cache": {"type": "PVC"}}, "a ReadWriteOnce cache serves one pod"),
    ({"cache": {"type": "ExistingClaim"}}, "claimName belongs to type ExistingClaim"),
    ({"cache": {"claimName": "models"}}, "claimName belongs to type ExistingClaim"),
    ({"cache": {"type": "Image"}}, "image belongs to type Image"),
    ({"cache": {"prewarm": True}}, "belong to type PVC"),
    ({"cache": {"readOnly": True}}, "readOnly belongs to type ExistingClaim"),
    (
        {"hub": {"offline": True}, "cache": {"type": "PVC", "prewarm": True}},
        "spec.hub.offline forbids it",
    ),
    ({"networkPolicy": {"allowFrom": [{}]}}, "a peer is an ipBlock, or"),
    (
        {"env": [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]},
        "value or valueFrom",
    ),
    ({"replicas": "two"}, "spec.replicas: expected `int"),
    ({"replcias": 2}, "unknown field `replcias`"),
    ({"models": {"embedding": "a@b@c"}}, "spec.models.embedding: expected `str` matching"),
    ({"service": {"port": 70000}}, "spec.service.port: expected `int` <= 65535"),
]


@pytest.mark.parametrize(("spec", "words"), BROKEN)
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
