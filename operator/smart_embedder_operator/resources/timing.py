"""How long a pod may take to start and to stop. Numbers only.

A startup probe that is too short kills a pod in the middle of its first download, for ever; one
that is too long only delays a restart that would not have helped.
"""

import math
import re

from smart_embedder_operator.platform import Platform
from smart_embedder_operator.spec import Spec

_BILLIONS = re.compile(r"(\d+(?:\.\d+)?)[bB](?![a-z0-9])")

# Parameters in billions where the name does not say: BGE-M3 and its reranker have 0.57.
_UNNAMED_BILLIONS = 0.6
_DEMO_BILLIONS = 0.01

# Files on the hub are float32 for the BGE family; 10 MB/s is a slow office line.
_STORED_BYTES = 4
_SECONDS_PER_GIGABYTE = 100
_SHORTEST_START = 300
_LONGEST_START = 7200

PROBE_PERIOD = 5

# After delay and drain budget the process itself exits; what is left over is the kubelet's.
_GRACE_MARGIN = 5
_PROGRESS_DEADLINE = 1800


def start_seconds(spec: Spec) -> int:
    """Longest honest start: download, load and warm-up of every model."""
    stored = sum(billions(model.name) for model in spec.models.by_role.values()) * _STORED_BYTES
    return round(min(max(stored * _SECONDS_PER_GIGABYTE, _SHORTEST_START), _LONGEST_START))


def billions(model: str) -> float:
    """Parameters of a model in billions, by its name."""
    if model.startswith("demo/"):
        return _DEMO_BILLIONS
    said = _BILLIONS.search(model)
    return float(said[1]) if said else _UNNAMED_BILLIONS


def start_probes(spec: Spec) -> int:
    """How often the startup probe may fail."""
    return math.ceil(start_seconds(spec) / PROBE_PERIOD)


def progress_deadline(spec: Spec) -> int:
    """When a rollout counts as stuck: never before a pod had its time to start."""
    asked = spec.rollout.progress_deadline_seconds
    return asked or max(_PROGRESS_DEADLINE, start_seconds(spec) + 300)


def grace_seconds(spec: Spec, platform: Platform) -> int:
    """Time between SIGTERM and SIGKILL: endpoints go, admitted work finishes, the process exits."""
    return platform.drain_delay_seconds + spec.serving.drain + _GRACE_MARGIN
