"""What a person may add to the pods: image, variables, and the escape hatch."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, field

from smart_embedder_operator.spec.fields import (
    ENV_NAME,
    Key,
    Metadata,
    Name,
    Open,
    Piece,
    Rule,
    Text,
    Value,
    says,
)

CONTAINER = "embedder"
"""Name of the serving container."""

EnvName = Annotated[str, Meta(min_length=1, max_length=128, pattern=ENV_NAME)]


class Image(Piece, frozen=True, kw_only=True):
    """The image of the service."""

    reference: Annotated[
        Text | None,
        says(
            "Full image reference, with tag or digest. Unset takes the one of the operator's "
            "release for the hardware. With dtype int8, changing it is a migration."
        ),
    ] = None
    pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"] | None, says("When the image is pulled.")
    ] = None
    pull_secrets: Annotated[
        Annotated[tuple[Name, ...], Meta(max_length=8)],
        says("Names of Secrets with registry credentials, in this namespace."),
    ] = ()


class KeyRef(Piece, frozen=True, kw_only=True):
    """One entry of a Secret or ConfigMap."""

    name: Annotated[Name, says("Name of the object.")]
    key: Annotated[Key, says("Entry within it.")]
    optional: Annotated[bool | None, says("Whether the pod may start without it.")] = None


class FieldRef(Piece, frozen=True, kw_only=True):
    """A field of the pod."""

    field_path: Annotated[Text, says("Path of the field, status.hostIP say.")]


class EnvSource(Piece, frozen=True, kw_only=True):
    """Where the value of a variable comes from."""

    secret_key_ref: Annotated[KeyRef | None, says("An entry of a Secret.")] = None
    config_map_key_ref: Annotated[KeyRef | None, says("An entry of a ConfigMap.")] = None
    field_ref: Annotated[FieldRef | None, says("A field of the pod.")] = None


class EnvVar(Piece, frozen=True, kw_only=True):
    """A variable of the serving container."""

    name: Annotated[EnvName, says("Name of the variable; overrides the operator's own.")]
    value: Annotated[Value | None, says("Its value.")] = None
    value_from: Annotated[EnvSource | None, says("Where its value comes from.")] = None

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.value) || !has(self.valueFrom)",
            "a variable takes value or valueFrom, not both",
            lambda variable: variable.value is None or variable.value_from is None,
        ),
    )


class PodMetadata(Piece, frozen=True, kw_only=True):
    """Labels and annotations of the pods."""

    labels: Annotated[Metadata, says("Labels of the pods; ours stay as they are.")] = field(
        default_factory=dict
    )
    annotations: Annotated[Metadata, says("Annotations of the pods.")] = field(default_factory=dict)


class PodTemplate(Piece, frozen=True, kw_only=True):
    """Merged over the pods the operator would make, as `kubectl patch --type strategic` does."""

    metadata: Annotated[PodMetadata, says("Labels and annotations of the pods.")] = PodMetadata()
    spec: Annotated[
        Open,
        says(
            "Any field of a PodSpec. Lists are merged by their keys: containers, env and volumes "
            "by name, mounts by mountPath; the serving container is called `embedder`.",
            preserve=True,
        ),
    ] = field(default_factory=dict)


def serving_container(pod: Mapping[str, Any]) -> dict[str, Any] | None:
    """The serving container of a PodSpec, or of what a person lays over one, whatever that is."""
    containers = pod.get("containers")
    for one in containers if isinstance(containers, list) else ():
        if isinstance(one, dict) and one.get("name") == CONTAINER:
            return one
    return None
