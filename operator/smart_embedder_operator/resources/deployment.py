"""The Deployment of a track, its record, and how its pods are exchanged. Pure.

`replicas` is never among the applied fields: whoever scales owns that number alone, and letting
go of it must not reset it. See `replicas.py`.
"""

from msgspec.structs import replace

from smart_embedder_operator import record
from smart_embedder_operator.labels import ROLLOUT, of_track, track_selector
from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.record import Record
from smart_embedder_operator.resources import config, pod, timing
from smart_embedder_operator.resources.context import Context
from smart_embedder_operator.resources.manifest import build
from smart_embedder_operator.rollout import Exchange, exchange
from smart_embedder_operator.spec import Embedder
from smart_embedder_operator.tracks import Track, child_name

# The ReplicaSets kept for `kubectl rollout undo`; three is what people look back at.
_HISTORY = 3

_STRATEGIES: dict[Exchange, Manifest] = {
    "Surge": {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0},
    },
    "InPlace": {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    },
    "Recreate": {"type": "Recreate"},
}


def made(embedder: Embedder, context: Context, track: Track) -> Record:
    """What the track is made from: as it was, unless the person's edit or policy says afresh."""
    kept = track.record
    revisions = _revisions(context, track)
    if kept is not None and _stays(embedder, context, kept):
        return replace(kept, revisions=revisions)
    settings = config.settings(embedder, context)
    return Record(
        fingerprint=track.fingerprint,
        meaning=track.meaning,
        edition=record.edition(embedder.spec),
        revisions=revisions,
        settings=settings,
        template=pod.template(embedder, context, track.fingerprint, settings),
    )


def _stays(embedder: Embedder, context: Context, kept: Record) -> bool:
    """A track that is not asked for any more stays as it is; the asked one follows the policy."""
    return kept.fingerprint != context.plan.target or record.stays(kept, embedder.spec)


def _revisions(context: Context, track: Track) -> dict[str, str]:
    """Commits pinned so far; what the track's pods resolved is added once and never changed."""
    pinned = dict(track.record.revisions) if track.record is not None else {}
    for item in context.observed.pods(track.fingerprint):
        report = context.observed.reports.get(item["metadata"]["name"])
        if report is not None:
            pinned = report.revisions | pinned
    # A newer service may know roles that this operator has no variable for.
    return {role: commit for role, commit in pinned.items() if role in config.REVISIONS}


def deployment(embedder: Embedder, context: Context, made_from: Record) -> Manifest:
    """The Deployment of a track."""
    name, fingerprint = embedder.name, made_from.fingerprint
    how = exchange(embedder, fingerprint, context.observed)
    return build(
        "apps/v1",
        "Deployment",
        embedder,
        name=child_name(name, fingerprint),
        labels=of_track(name, fingerprint),
        annotations={ROLLOUT: how},
        spec={
            "revisionHistoryLimit": _HISTORY,
            "progressDeadlineSeconds": timing.progress_deadline(embedder.spec),
            "strategy": _STRATEGIES[how],
            "selector": {"matchLabels": track_selector(name, fingerprint)},
            "template": made_from.template,
        },
    )
