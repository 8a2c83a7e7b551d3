"""One fault as it is seen, and the case in which faults are looked for. Decides nothing."""

from msgspec import Struct

from smart_embedder_operator.conditions.reasons import ADVICE, Reason
from smart_embedder_operator.decision import Decision
from smart_embedder_operator.labels import TRACK
from smart_embedder_operator.observed import Manifest, Observed, has_ended, label
from smart_embedder_operator.tracks import selected

# A registry's or kubelet's message can run to pages; its point is at the beginning.
_LONGEST_FACT = 400


class Finding(Struct, frozen=True, kw_only=True):
    """One fault."""

    reason: Reason
    fact: str
    """What was seen, in a sentence without its end."""

    def message(self, docs: str) -> str:
        """What was seen, what to do, and where to read on."""
        fact = self.fact.strip().rstrip(".")
        fact = fact if len(fact) <= _LONGEST_FACT else f"{fact[:_LONGEST_FACT]}…"
        anchor = self.reason.value.lower()
        return f"{fact}. {ADVICE[self.reason]} See {docs}/troubleshooting.md#{anchor}"


class Case(Struct, frozen=True, kw_only=True):
    """One Embedder under examination."""

    decision: Decision
    observed: Observed

    @property
    def name(self) -> str:
        """The Embedder's name; its spec may be unreadable."""
        name: str = self.decision.manifest["metadata"]["name"]
        return name

    @property
    def serving(self) -> str | None:
        """The track that the Service selects, or shall select first."""
        if self.decision.plan is not None:
            return self.decision.plan.serving.fingerprint
        return selected(self.name, self.observed)

    @property
    def pods(self) -> tuple[Manifest, ...]:
        """Every pod that is meant to stay, of all tracks and of the download."""
        return tuple(
            pod
            for pod in self.observed.of("Pod")
            if not pod["metadata"].get("deletionTimestamp") and not self._is_past(pod)
        )

    def _is_past(self, pod: Manifest) -> bool:
        """An ended pod has been replaced; one of a download tells why, until that is done."""
        jobs = (job for job in self.observed.of("Job") if label(job, TRACK) == label(pod, TRACK))
        downloading = any(not (job.get("status") or {}).get("succeeded") for job in jobs)
        return has_ended(pod) and not downloading


def pod_name(pod: Manifest) -> str:
    """The pod's name."""
    name: str = pod["metadata"]["name"]
    return name
