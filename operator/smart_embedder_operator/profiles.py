"""Hardware profiles: a name for everything a kind of node asks of a pod. Knows no Embedder's rest.

The chart's values hold the profiles of a cluster; those here are what a bare install knows.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import field

from smart_embedder_operator.spec.fields import Piece
from smart_embedder_operator.spec.hardware import Hardware, Resources, Toleration

GPU = "nvidia.com/gpu"
_NO_GPU = (0, "0")


class Profile(Piece, frozen=True, kw_only=True):
    """What one kind of hardware asks of a pod."""

    device: str = "cpu"
    dtype: str | None = None
    """What `dtype: auto` means here; None takes float32 on cpu and bfloat16 on cuda."""
    image: str | None = None
    resources: Resources = Resources()
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    affinity: dict[str, Any] | None = None
    runtime_class_name: str | None = None


CPU_PROFILE = Profile(
    # BGE-M3 in float32 is 2.3 GB; the rest is the batch, the tokenizer and the cache.
    resources=Resources(requests={"cpu": "2", "memory": "4Gi"}, limits={"memory": "8Gi"}),
)
SMALL_CPU_PROFILE = Profile(
    # For the demo models and for trying things on a laptop.
    resources=Resources(requests={"cpu": "250m", "memory": "1Gi"}, limits={"memory": "2Gi"}),
)
NVIDIA_PROFILE = Profile(
    device="cuda",
    resources=Resources(
        requests={"cpu": "4", "memory": "8Gi", GPU: "1"}, limits={"memory": "16Gi", GPU: "1"}
    ),
    tolerations=(Toleration(key=GPU, operator="Exists", effect="NoSchedule"),),
)
DEFAULT_PROFILES: dict[str, Profile] = {
    "cpu": CPU_PROFILE,
    "cpu-small": SMALL_CPU_PROFILE,
    "nvidia": NVIDIA_PROFILE,
}


class ProfileNotFound(LookupError):
    """The Embedder names a profile that the operator does not have."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(name)
        self.name = name
        self.known = known


def load_profiles(written: Mapping[str, Any]) -> dict[str, Profile]:
    """Read the chart's profiles; they replace ours of the same name."""
    return DEFAULT_PROFILES | msgspec.convert(dict(written), dict[str, Profile])


def settle(hardware: Hardware, profiles: Mapping[str, Profile]) -> Profile:
    """The one profile that an Embedder's hardware amounts to."""
    profile = _named_or_written(hardware, profiles)
    return msgspec.structs.replace(
        profile,
        device=hardware.device or profile.device,
        node_selector=profile.node_selector | hardware.node_selector,
        tolerations=(*profile.tolerations, *hardware.tolerations),
        affinity=hardware.affinity or profile.affinity,
        runtime_class_name=hardware.runtime_class_name or profile.runtime_class_name,
    )


def _named_or_written(hardware: Hardware, profiles: Mapping[str, Profile]) -> Profile:
    if hardware.resources is not None:
        return Profile(device=_device(hardware.resources), resources=hardware.resources)
    name = hardware.profile or "cpu"
    if name not in profiles:
        raise ProfileNotFound(name, tuple(sorted(profiles)))
    return profiles[name]


def _device(resources: Resources) -> str:
    """A GPU, whole or in slices (nvidia.com/mig-…), among what is asked for means cuda."""
    asked = (resources.requests | resources.limits).items()
    gpus = [
        name for name, amount in asked if name.startswith("nvidia.com/") and amount not in _NO_GPU
    ]
    return "cuda" if gpus else "cpu"


def dtype_of(profile: Profile) -> str:
    """What `dtype: auto` means on this hardware: one answer for all pods, so vectors compare."""
    return profile.dtype or ("bfloat16" if profile.device == "cuda" else "float32")
