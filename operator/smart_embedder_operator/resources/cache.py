"""The model cache: the volume the pods mount, the claim behind it, the Job that fills it. Pure."""

from datetime import timedelta

from smart_embedder_operator import record
from smart_embedder_operator.labels import RETAIN, of_track
from smart_embedder_operator.observed import Manifest, Observed
from smart_embedder_operator.resources.manifest import build, present
from smart_embedder_operator.rollout import moment
from smart_embedder_operator.spec import Embedder
from smart_embedder_operator.spec.models import Model
from smart_embedder_operator.tracks import child_name, deployment

DEFAULT_SIZE = "20Gi"
# A Job that has used up its tries stays failed for ever, whatever is mended at the hub.
_NEXT_DOWNLOAD = timedelta(minutes=5)


def volume(embedder: Embedder, fingerprint: str) -> Manifest:
    """The source of the volume that holds the models."""
    cache = embedder.spec.cache
    match cache.type:
        case "PVC":
            return {"persistentVolumeClaim": {"claimName": claim_name(embedder.name, fingerprint)}}
        case "ExistingClaim":
            claim = present(claimName=cache.claim_name, readOnly=cache.read_only or None)
            return {"persistentVolumeClaim": claim}
        case "Image":
            return {"image": {"reference": cache.image}}
        case "EmptyDir":
            return {"emptyDir": present(sizeLimit=cache.size)}


def claim_name(name: str, fingerprint: str) -> str:
    """One claim for each track: two may live on different nodes while vectors migrate."""
    return f"{child_name(name, fingerprint)}-cache"


def claim(embedder: Embedder, fingerprint: str) -> Manifest:
    """The claim of a track; a retained one has no owner, and prunes leave it alone."""
    cache = embedder.spec.cache
    labels = of_track(embedder.name, fingerprint)
    return build(
        "v1",
        "PersistentVolumeClaim",
        embedder,
        name=claim_name(embedder.name, fingerprint),
        labels=labels | ({RETAIN: "true"} if cache.retain else {}),
        owned=not cache.retain,
        spec=present(
            accessModes=[cache.access_mode or "ReadWriteOnce"],
            storageClassName=cache.storage_class_name,
            resources={"requests": {"storage": cache.size or DEFAULT_SIZE}},
        ),
    )


def prewarm(embedder: Embedder, fingerprint: str, template: Manifest) -> Manifest | None:
    """The Job that downloads the models, on the same kind of node but without its GPU.

    A Job's pods cannot be changed, so its name carries what they are. None where every model is a
    folder or part of the image.
    """
    models = [model for model in embedder.spec.models.by_role.values() if is_downloaded(model)]
    if not models:
        return None
    pod = _download_pod(template, models)
    labels = of_track(embedder.name, fingerprint, "prewarm")
    return build(
        "batch/v1",
        "Job",
        embedder,
        name=f"{child_name(embedder.name, fingerprint)}-warm-{record.letters(pod, 6)}",
        labels=labels,
        spec={
            # With the Job's doubling pause between tries, about ten minutes of a broken hub.
            "backoffLimit": 6,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    )


def is_downloaded(model: Model) -> bool:
    """Whether a model comes from the hub."""
    return not model.name.startswith(("demo/", "/", "."))


def _download_pod(template: Manifest, models: list[Model]) -> Manifest:
    serving = template["spec"]
    kept = {key: value for key, value in serving.items() if key != "topologySpreadConstraints"}
    container = {
        key: value
        for key, value in serving["containers"][0].items()
        if not key.endswith("Probe") and key != "ports"
    }
    downloads = [
        container | _download(f"download-{number}", model) for number, model in enumerate(models)
    ]
    return kept | {"containers": downloads, "restartPolicy": "Never"}


def _download(name: str, model: Model) -> Manifest:
    revision = ["--revision", model.revision] if model.revision is not None else []
    return {
        "name": name,
        "args": ["models", "download", model.name, *revision],
        # Downloading is disk and network; the weights never enter memory as a whole.
        "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}},
    }


def is_spent(job: Manifest, observed: Observed) -> bool:
    """Whether a download was given up a while ago: it is taken away then, and made anew."""
    live = observed.named("Job", job["metadata"]["name"])
    for condition in ((live or {}).get("status") or {}).get("conditions") or ():
        if condition["type"] == "Failed" and condition["status"] == "True":
            since = moment(condition.get("lastTransitionTime"))
            return since is not None and observed.now - since >= _NEXT_DOWNLOAD
    return False


def may_start(embedder: Embedder, fingerprint: str, job: Manifest, observed: Observed) -> bool:
    """Whether the pods may come: the cache is filled, or they are there already."""
    live = observed.named("Job", job["metadata"]["name"])
    filled = live is not None and (live.get("status") or {}).get("succeeded", 0) > 0
    return filled or deployment(embedder.name, fingerprint, observed) is not None
