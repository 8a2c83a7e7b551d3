"""Whose number of pods is ours to say. Pure.

What is absent here is never touched: an autoscaler's, `kubectl scale`'s, or a person's number
stays as it is, also when autoscaling is switched on or off.
"""

from collections.abc import Iterator

from smart_embedder_operator.observed import Observed
from smart_embedder_operator.resources.context import Context
from smart_embedder_operator.spec import Embedder
from smart_embedder_operator.tracks import Track, child_name, deployment


def replicas(embedder: Embedder, context: Context) -> dict[str, int]:
    """The number of pods by Deployment."""
    return {
        child_name(embedder.name, fingerprint): number
        for fingerprint, number in _decided(embedder, context)
    }


def _decided(embedder: Embedder, context: Context) -> Iterator[tuple[str, int]]:
    serving = _serving_number(embedder, context)
    for track in context.plan.tracks:
        number = _number(embedder, track, serving)
        if number is not None:
            yield track.fingerprint, number


def _number(embedder: Embedder, track: Track, serving: int) -> int | None:
    match track.role:
        case "Serving":
            return embedder.spec.replicas
        case "Next":
            # As many as serve now, so that the flip does not make the queue longer, and no more,
            # however long it waits: no autoscaler looks at this track before the flip.
            return serving
        case "Standby":
            return 0


def _serving_number(embedder: Embedder, context: Context) -> int:
    if embedder.spec.replicas is not None:
        return embedder.spec.replicas
    live = live_replicas(embedder.name, context.plan.serving.fingerprint, context.observed)
    return max(live or 0, embedder.spec.autoscaling.least, 1)


def live_replicas(name: str, track: str, observed: Observed) -> int | None:
    """The number that a track's Deployment asks for now."""
    live = deployment(name, track, observed)
    if live is None:
        return None
    number: int = live["spec"].get("replicas", 1)
    return number
