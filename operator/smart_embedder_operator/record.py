"""What a track was made from, kept as an annotation of its ConfigMap. Decides nothing.

It is the operator's whole memory, and it lives beside the thing it describes: with it a track can
be rebuilt as it was after the Embedder has been edited, and an upgrade of the operator can leave
running pods alone. While vectors migrate, the track's preview Service has a copy, for when
somebody deletes the ConfigMap.
"""

import hashlib
from typing import Any

import msgspec
from msgspec import Struct

from smart_embedder_operator import recipes
from smart_embedder_operator.labels import RECORD
from smart_embedder_operator.observed import Manifest, Observed
from smart_embedder_operator.recipes import Recipe
from smart_embedder_operator.spec import Spec
from smart_embedder_operator.spec.models import Model, Models

_LETTERS = str.maketrans("0123456789abcdef", "bcdfghjkmnpqrtvw")

# Fields of the spec that never reach a pod: editing one of them restarts nothing.
_BESIDE_PODS = frozenset(
    {
        "replicas",
        "autoscaling",
        "rollout",
        "route",
        "networkPolicy",
        "monitoring",
        "paused",
    }
)


class Meaning(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What decides what vectors mean: two of them compare only if it is equal."""

    models: dict[str, Model]
    """By role, those whose vectors are stored: embedding, dense."""
    dtype: str
    max_length: int | None = None
    pooling: str | None = None
    engine: str = "packed"
    recipe: Recipe | None = None
    """How the dtype is rounded. None for most dtypes, and in records of before it was kept."""


class Record(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One track as it was made."""

    fingerprint: str
    meaning: Meaning
    edition: str
    """Digest of the fields that shape pods: equal edition, equal pods, whatever the operator."""
    revisions: dict[str, str] = {}
    """Commits that the models' revisions were resolved to, by role."""
    settings: dict[str, str]
    template: dict[str, Any]


def meaning(models: Models, auto_dtype: str, own_image: str | None = None) -> Meaning:
    """What the asked models amount to on this hardware, by the release's image or another."""
    dtype = auto_dtype if models.dtype == "auto" else models.dtype
    return Meaning(
        models={role: model for role, model in models.by_role.items() if role != "reranker"},
        dtype=dtype,
        max_length=models.max_length,
        pooling=models.pooling,
        engine=models.engine,
        recipe=recipes.recipe(dtype, own_image),
    )


def fingerprint(of: Meaning) -> str:
    """Short name of a meaning; Deployments and Services of a track are named after it."""
    return letters(of, 8)


def edition(spec: Spec) -> str:
    """Digest of what shapes pods; defaults are left out, so that new fields change nothing."""
    written = msgspec.to_builtins(spec)
    return digest({key: written[key] for key in written.keys() - _BESIDE_PODS})[:16]


def stays(record: Record, spec: Spec) -> bool:
    """Whether its pods are left as they were made, old image and all, whatever the release."""
    return record.edition == edition(spec) and spec.rollout.image_policy == "OnEdit"


def digest(value: object) -> str:
    """Hash of a value, the same for equal values."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()


def letters(value: object, count: int) -> str:
    """A hash without digits: in YAML `1e345678` is a number, and vowels could make words."""
    return digest(value)[:count].translate(_LETTERS)


def write(record: Record) -> str:
    """The annotation's text."""
    return msgspec.json.encode(record, order="deterministic").decode()


def records(observed: Observed) -> dict[str, Record]:
    """Every track that left a readable record, by fingerprint, oldest first; copies come last."""
    found: dict[str, Record] = {}
    for kind in ("ConfigMap", "Service"):
        for item in sorted(observed.of(kind), key=_age):
            text = (item["metadata"].get("annotations") or {}).get(RECORD)
            if text is not None and (record := _read(text)) is not None:
                found.setdefault(record.fingerprint, record)
    return found


def _age(item: Manifest) -> str:
    created: str = item["metadata"].get("creationTimestamp") or ""
    return created


def _read(text: str) -> Record | None:
    """A record somebody mangled by hand counts as none: the track is then made afresh."""
    try:
        return msgspec.json.decode(text, type=Record)
    except msgspec.MsgspecError:
        return None
