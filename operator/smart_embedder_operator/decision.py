"""One reconcile as a value: from a manifest and what was seen to what shall be. Pure.

decision = decide(manifest, platform, observed)
… apply decision.objects, prune the rest (unless objects is None: then touch nothing),
  apply decision.replicas, note what was refused …
status = conditions.evaluate(decision, observed_with_refusals)
"""

from typing import Any

from msgspec import Struct

from smart_embedder_operator import resources, tracks
from smart_embedder_operator.observed import Manifest, Observed
from smart_embedder_operator.platform import Platform
from smart_embedder_operator.profiles import ProfileNotFound, settle
from smart_embedder_operator.resources.merge import Unmergeable
from smart_embedder_operator.spec import Embedder, InvalidSpec, parse
from smart_embedder_operator.tracks import TrackPlan


class Decision(Struct, frozen=True, kw_only=True):
    """What shall be, or why nothing is touched."""

    manifest: Manifest
    """The Embedder as it was read, previous status included."""
    platform: Platform
    embedder: Embedder | None = None
    """None when the spec cannot be read; `trouble` then says why."""
    plan: TrackPlan | None = None
    objects: tuple[Manifest, ...] | None = None
    """Everything that shall exist, in the order to apply; None: apply nothing, prune nothing."""
    replicas: dict[str, int] = {}
    """Deployments whose number of pods is ours to say, by name. The others are left alone."""
    trouble: InvalidSpec | ProfileNotFound | None = None


def decide(manifest: Manifest, platform: Platform, observed: Observed) -> Decision:
    """Decide one Embedder. Never raises for what a person may write."""
    known: dict[str, Any] = {"manifest": manifest, "platform": platform}
    try:
        embedder = parse(manifest)
    except InvalidSpec as trouble:
        return Decision(**known, trouble=trouble)
    known["embedder"] = embedder
    try:
        profile = settle(embedder.spec.hardware, platform.profiles)
    except ProfileNotFound as trouble:
        return Decision(**known, trouble=trouble)
    if observed.unseen:
        return Decision(**known)  # what is not seen would be made anew, and its pods taken away
    plan = tracks.plan(embedder, profile, observed)
    if embedder.spec.paused:
        return Decision(**known, plan=plan)
    context = resources.Context(platform=platform, profile=profile, plan=plan, observed=observed)
    try:
        objects = tuple(resources.desired(embedder, context))
    except Unmergeable as error:
        return Decision(**known, trouble=InvalidSpec((f"spec.podTemplate.spec.{error}",)))
    return Decision(
        **known,
        plan=plan,
        objects=objects,
        replicas=resources.replicas(embedder, context),
    )
