"""The Embedder resource: `parse` reads a manifest, everything else is the shape of it."""

from smart_embedder_operator.spec.embedder import (
    API_VERSION,
    GROUP,
    KIND,
    PLURAL,
    VERSION,
    Embedder,
    Spec,
)
from smart_embedder_operator.spec.parse import InvalidSpec, parse

__all__ = [
    "API_VERSION",
    "GROUP",
    "KIND",
    "PLURAL",
    "VERSION",
    "Embedder",
    "InvalidSpec",
    "Spec",
    "parse",
]
