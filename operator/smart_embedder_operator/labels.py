"""The labels of an Embedder's children: everything that selects or is selected stands here."""

from typing import Literal

MANAGER = "smart-embedder-operator"
"""Value of the managed-by label: what watches select and prunes may delete."""
REPLICAS_MANAGER = "smart-embedder-replicas"
"""Field manager of spec.replicas alone, so that letting go of the number never resets it."""

MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
EMBEDDER = "smart-embedder.io/embedder"
TRACK = "smart-embedder.io/track"
RECORD = "smart-embedder.io/record"
"""Annotation of a track's ConfigMap: what the track was made from, and its pods as made."""
CONFIG_HASH = "smart-embedder.io/config"
"""Annotation of the pods: a change of settings is a change of the pods."""
ROLLOUT = "smart-embedder.io/rollout"
"""Annotation of a Deployment: the strategy that Auto settled on for the rollout under way."""

RETAIN = "smart-embedder.io/retain"
"""Label of what outlives its Embedder: never pruned, never owned."""

Component = Literal["serving", "prewarm"]


def selector(name: str) -> dict[str, str]:
    """Every pod of one Embedder that can serve."""
    return {EMBEDDER: name, COMPONENT: "serving"}


def track_selector(name: str, track: str) -> dict[str, str]:
    """Every serving pod of one track."""
    return selector(name) | {TRACK: track}


def common(name: str) -> dict[str, str]:
    """What every child carries."""
    return {
        "app.kubernetes.io/name": "smart-embedder",
        "app.kubernetes.io/instance": name,
        MANAGED_BY: MANAGER,
        EMBEDDER: name,
    }


def of_track(name: str, track: str, component: Component = "serving") -> dict[str, str]:
    """What the children of one track carry, and their pods."""
    return common(name) | {COMPONENT: component, TRACK: track}
