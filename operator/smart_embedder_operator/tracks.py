"""Which tracks an Embedder has, which one serves, and what the next step is. Pure.

A track is everything that yields one meaning of vectors. Live objects are the only memory: the
Service's selector says who serves, the tracks' records say what each was made from. At no time
does one Service select two tracks.
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from smart_embedder_operator import recipes
from smart_embedder_operator import record as records_
from smart_embedder_operator.labels import TRACK
from smart_embedder_operator.observed import Manifest, Observed
from smart_embedder_operator.profiles import Profile, dtype_of
from smart_embedder_operator.record import Meaning, Record
from smart_embedder_operator.spec import Embedder, Spec
from smart_embedder_operator.spec.models import Model

Role = Literal["Serving", "Next", "Standby"]
Waiting = Literal["ForReady", "ForPromotion"]


class Track(Struct, frozen=True, kw_only=True):
    """One meaning of vectors and the part it plays."""

    fingerprint: str
    meaning: Meaning
    role: Role
    record: Record | None = None
    """How it was made; None while it is new."""


class TrackPlan(Struct, frozen=True, kw_only=True):
    """All tracks that shall exist after this step; any other is taken away."""

    serving: Track
    target: str
    """The fingerprint that the spec asks for now."""
    others: tuple[Track, ...] = ()
    flipped_from: str | None = None
    """The track that served until this very step."""
    waiting: Waiting | None = None
    """Why the next track does not serve yet."""

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Every track, the serving one first."""
        return (self.serving, *self.others)

    @property
    def next(self) -> Track | None:
        """The track that is being made ready, if vectors migrate."""
        return next((track for track in self.others if track.role == "Next"), None)


def plan(embedder: Embedder, profile: Profile, observed: Observed) -> TrackPlan:
    """Decide the tracks: what serves, what is prepared, what is kept, and so what goes."""
    known = records_.records(observed)
    asked = _asked(embedder.spec, profile)
    serves = _current(embedder.name, known, observed)
    target = _same(asked, embedder.spec, known, serves) or records_.fingerprint(asked)
    current = serves or target
    wanted = _wanted(embedder, current, target, known)
    serving = wanted if _may_flip(embedder, wanted, current, observed) else current
    return TrackPlan(
        serving=_track(serving, "Serving", asked, known),
        target=target,
        others=tuple(
            _track(fingerprint, role, asked, known)
            for fingerprint, role in _beside(embedder, serving, wanted, target, known)
        ),
        flipped_from=current if serving != current else None,
        waiting=_waiting(serving, wanted, target),
    )


def _asked(spec: Spec, profile: Profile) -> Meaning:
    return records_.meaning(spec.models, dtype_of(profile), recipes.own_image(spec, profile))


def _same(asked: Meaning, spec: Spec, known: dict[str, Record], serves: str | None) -> str | None:
    """The track that already yields what is asked for, rather the one that serves.

    Where pods keep their image, its recipe is the one that is asked for, whatever the release's.
    """
    for name in sorted(known, key=lambda name: name != serves):
        record = known[name]
        if _means(record, asked) and (records_.stays(record, spec) or _rounds(record, asked)):
            return name
    return None


def _rounds(record: Record, asked: Meaning) -> bool:
    """Whether the track's image is known to round as the asked one: the same image does."""
    made = record.meaning.recipe or recipes.UNRECORDED.get(asked.dtype)
    image = recipes.image_in(record.template.get("spec") or {})
    return asked.recipe in {made, image}


def _means(record: Record, asked: Meaning) -> bool:
    """Whether it means the same, recipes aside; a branch and its commit do."""
    if record.meaning.models.keys() != asked.models.keys():
        return False
    made = replace(
        record.meaning,
        recipe=asked.recipe,
        models={
            role: _resolved(model, asked.models[role], record.revisions.get(role))
            for role, model in record.meaning.models.items()
        },
    )
    return made == asked


def _resolved(made: Model, asked: Model, commit: str | None) -> Model:
    """The model with the asked revision, where that is the commit or the beginning of it."""
    revision = asked.revision
    if revision and commit and len(revision) >= 7 and commit.startswith(revision):
        return Model(made.name, revision)
    return made


def selected(name: str, observed: Observed) -> str | None:
    """The track that the Service selects now."""
    service = observed.named("Service", name)
    if service is None:
        return None
    track: str | None = (service["spec"].get("selector") or {}).get(TRACK)
    return track


def _current(name: str, known: dict[str, Record], observed: Observed) -> str | None:
    """Who serves now; if somebody took the Service away, whoever could."""
    chosen = selected(name, observed)
    if chosen in known:
        return chosen
    return next((track for track in known if is_ready(deployment(name, track, observed))), None)


def _wanted(embedder: Embedder, current: str, target: str, known: dict[str, Record]) -> str:
    """Who shall serve once ready. Manual: whoever `promote` names, else who serves now."""
    rollout = embedder.spec.rollout
    if rollout.promotion == "Automatic":
        return target
    return rollout.promote if rollout.promote in {*known, target} else current


def _may_flip(embedder: Embedder, wanted: str, current: str, observed: Observed) -> bool:
    """Recreate accepts the gap, and no pod serves nobody; else the new track must be ready."""
    if embedder.spec.paused:
        return False  # nothing moves the Service, so who serves is who is selected
    if wanted == current or embedder.spec.rollout.strategy == "Recreate":
        return True
    serving = deployment(embedder.name, current, observed)
    if serving is not None and serving["spec"].get("replicas", 1) == 0:
        return True
    return is_ready(deployment(embedder.name, wanted, observed))


def deployment(name: str, track: str, observed: Observed) -> Manifest | None:
    """The Deployment of a track."""
    return observed.named("Deployment", child_name(name, track))


def child_name(name: str, track: str) -> str:
    """How the children of one track are called."""
    return f"{name}-{track}"


def is_ready(deployment: Manifest | None) -> bool:
    """Whether every pod that the Deployment asks for is new and available."""
    if deployment is None:
        return False
    status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    counts = (status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
    return bool(seen and wanted > 0 and min(counts) >= wanted)


def _beside(
    embedder: Embedder, serving: str, wanted: str, target: str, known: dict[str, Record]
) -> list[tuple[str, Role]]:
    """The tracks that live beside the serving one. Manual keeps one more, without pods."""
    beside: list[tuple[str, Role]] = [
        (name, "Next") for name in dict.fromkeys((wanted, target)) if name != serving
    ]
    if embedder.spec.rollout.promotion == "Manual":
        kept = [name for name in known if name not in {serving, wanted, target}]
        beside += [(name, "Standby") for name in kept[-1:]]
    return beside


def _track(name: str, role: Role, asked: Meaning, known: dict[str, Record]) -> Track:
    record = known.get(name)
    made = record.meaning if record is not None else asked
    return Track(fingerprint=name, meaning=made, role=role, record=record)


def _waiting(serving: str, wanted: str, target: str) -> Waiting | None:
    if wanted != serving:
        return "ForReady"
    return "ForPromotion" if target != serving else None
