"""From a manifest to an Embedder, or to words about what is wrong with it.

The API server has applied the same schema and rules; this holds for manifests that never saw one
(`render`), and for objects stored before a rule existed.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from smart_embedder_operator.spec.embedder import LONGEST_NAME, Embedder, Spec
from smart_embedder_operator.spec.fields import Piece, rules_of

NAME_PATTERN = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
NAME_MESSAGE = (
    f"the name of an Embedder starts with a letter, has only a-z, 0-9 and -, and is at most "
    f"{LONGEST_NAME} characters long: its Service and Deployments are named after it"
)


class InvalidSpec(ValueError):
    """A manifest that says something impossible; `problems` are sentences for its author."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def parse(manifest: Mapping[str, Any]) -> Embedder:
    """Read an Embedder, or raise InvalidSpec with everything that is wrong."""
    metadata = manifest.get("metadata") or {}
    spec = _spec(manifest.get("spec") or {})
    problems = tuple(dict.fromkeys(_problems(metadata.get("name", ""), spec)))
    if problems:
        raise InvalidSpec(problems)
    return Embedder(
        name=metadata["name"],
        namespace=metadata.get("namespace", "default"),
        uid=metadata.get("uid", ""),
        generation=metadata.get("generation", 0),
        created=metadata.get("creationTimestamp", ""),
        spec=spec,
    )


def _spec(written: object) -> Spec:
    try:
        return msgspec.convert(written, Spec)
    except msgspec.ValidationError as error:
        raise InvalidSpec((_where(str(error)),)) from error


def _where(message: str) -> str:
    """Say `spec.replicas: expected …` where msgspec says `Expected … - at `$.replicas``."""
    problem, _, path = message.partition(" - at `$")
    return f"spec{path.rstrip('`')}: {problem[:1].lower()}{problem[1:]}"


def _problems(name: str, spec: Spec) -> Iterator[str]:
    if len(name) > LONGEST_NAME or not re.fullmatch(NAME_PATTERN, name):
        yield NAME_MESSAGE
    yield from _broken(spec)


def _broken(piece: object) -> Iterator[str]:
    for rule in rules_of(piece):
        if rule.holds is not None and not rule.holds(piece):
            yield rule.message
    if isinstance(piece, Piece):
        for field in piece.__struct_fields__:
            yield from _broken(getattr(piece, field))
    elif isinstance(piece, tuple):
        for item in piece:
            yield from _broken(item)
