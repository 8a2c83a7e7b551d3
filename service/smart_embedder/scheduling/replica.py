"""What the scheduler schedules onto: the models of one device."""

from collections.abc import Mapping
from dataclasses import dataclass

from smart_embedder.models.model import Model


@dataclass(frozen=True, slots=True)
class Placed:
    """A model on a device, and how many tokens one pass of it may hold there."""

    model: Model
    batch_tokens: int


@dataclass(frozen=True, slots=True)
class Replica:
    """One device with every model that is served, by the name it was asked for."""

    device: str
    models: Mapping[str, Placed]
