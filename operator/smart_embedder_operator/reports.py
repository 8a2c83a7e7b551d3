"""What the pods of one Embedder say of themselves, from what was scraped. Pure look-ups."""

from smart_embedder_operator.metrics_api.exposition import QUEUE_DEPTH, Labels
from smart_embedder_operator.metrics_api.pods import PodTable
from smart_embedder_operator.metrics_api.scrape import Sample, Scraper
from smart_embedder_operator.observed import PodReport


def reports(
    pods: PodTable, scraper: Scraper, namespace: str, embedder: str
) -> dict[str, PodReport]:
    """By pod name; only pods that have answered lately."""
    mine = [pod for pod in pods if (pod.namespace, pod.embedder) == (namespace, embedder)]
    return {pod.name: _report(sample) for pod in mine if (sample := scraper.fresh(pod)) is not None}


def _report(sample: Sample) -> PodReport:
    depth = sample.values.get(QUEUE_DEPTH)
    return PodReport(
        fingerprint=_fingerprint(sample.models),
        revisions={
            model["role"]: model["revision"]
            for model in sample.models
            if model.get("role") and model.get("revision")
        },
        queue_depth=round(depth) if depth is not None else None,
    )


def _fingerprint(models: tuple[Labels, ...]) -> str | None:
    """The fingerprint of the stored vectors: the embedding model's, or the dense one's."""
    by_role = {model.get("role"): model.get("fingerprint") for model in models}
    return by_role.get("embedding") or by_role.get("dense") or None
