"""What an Embedder runs on: a named profile, or everything written out."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from smart_embedder_operator.spec.fields import (
    Key,
    Label,
    Name,
    Open,
    Piece,
    Quantities,
    Rule,
    Selector,
    says,
)


class Resources(Piece, frozen=True, kw_only=True):
    """Requests and limits of the serving container."""

    requests: Annotated[
        Quantities, says("What is set aside for each pod, for example {cpu: 2, memory: 4Gi}.")
    ] = field(default_factory=dict)
    limits: Annotated[
        Quantities, says("What each pod may use, for example {nvidia.com/gpu: 1}.")
    ] = field(default_factory=dict)


class Toleration(Piece, frozen=True, kw_only=True):
    """A taint that the pods accept."""

    key: Annotated[Key | None, says("Key of the taint; unset matches every key.")] = None
    operator: Annotated[
        Literal["Equal", "Exists"] | None, says("How the value is compared; Equal when unset.")
    ] = None
    value: Annotated[
        Annotated[str, Meta(max_length=63)] | None, says("Value of the taint, for Equal.")
    ] = None
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None,
        says("Effect of the taint; unset matches every effect."),
    ] = None
    toleration_seconds: Annotated[
        int | None, says("How long to stay after a NoExecute taint appears; unset means for ever.")
    ] = None


Tolerations = Annotated[tuple[Toleration, ...], Meta(max_length=32)]


class Hardware(Piece, frozen=True, kw_only=True):
    """Where the pods run and what they get there."""

    profile: Annotated[
        Label | None,
        says(
            "A hardware profile of the operator: cpu, cpu-small, nvidia, or one that your platform "
            "team added to the chart's values. Unset, and without resources, means cpu."
        ),
    ] = None
    resources: Annotated[
        Resources | None,
        says("Requests and limits written out, in place of a profile."),
    ] = None
    device: Annotated[
        Literal["cpu", "cuda"] | None,
        says(
            "What the models run on. Unset follows the profile, or the resources: cuda when a GPU "
            "is among the limits. With cuda, a pod that finds no GPU fails instead of being slow."
        ),
    ] = None
    node_selector: Annotated[
        Selector, says("Labels a node must have; added to those of the profile.")
    ] = field(default_factory=dict)
    tolerations: Annotated[
        Tolerations, says("Taints the pods accept; added to those of the profile.")
    ] = ()
    affinity: Annotated[
        Open | None,
        says("A Kubernetes Affinity, used as it is written.", preserve=True),
    ] = None
    runtime_class_name: Annotated[
        Name | None,
        says("RuntimeClass of the pods (nvidia on some clusters); overrides the profile's."),
    ] = None
    priority_class_name: Annotated[Name | None, says("PriorityClass of the pods.")] = None
    scheduler_name: Annotated[Name | None, says("Scheduler to use in place of the default.")] = None

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.profile) || !has(self.resources)",
            "spec.hardware takes a profile or resources, not both: remove one of them",
            lambda hardware: hardware.profile is None or hardware.resources is None,
        ),
    )
