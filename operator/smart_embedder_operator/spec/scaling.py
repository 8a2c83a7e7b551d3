"""How many pods there are, and how a change reaches them."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from smart_embedder_operator.spec.fields import Count, Piece, Rule, Seconds, Url, says


class ScalingPolicy(Piece, frozen=True, kw_only=True):
    """How fast the number of pods may move."""

    type: Annotated[Literal["Pods", "Percent"], says("Whether value counts pods or percent.")]
    value: Annotated[Annotated[int, Meta(ge=1, le=1000)], says("How many per period.")]
    period_seconds: Annotated[Annotated[int, Meta(ge=1, le=1800)], says("Length of a period.")]


class ScalingRules(Piece, frozen=True, kw_only=True):
    """How the autoscaler moves in one direction."""

    stabilization_window_seconds: Annotated[
        Annotated[int, Meta(ge=0, le=3600)] | None,
        says("How far it looks back before it moves."),
    ] = None
    select_policy: Annotated[
        Literal["Max", "Min", "Disabled"] | None, says("Which of the policies counts.")
    ] = None
    policies: Annotated[
        Annotated[tuple[ScalingPolicy, ...], Meta(max_length=8)], says("The policies.")
    ] = ()


class Behavior(Piece, frozen=True, kw_only=True):
    """The autoscaler's behaviour, as in HorizontalPodAutoscaler; each direction replaces ours."""

    scale_up: Annotated[ScalingRules | None, says("Moving up. Ours: at once, doubling.")] = None
    scale_down: Annotated[
        ScalingRules | None,
        says("Moving down. Ours: one pod in two minutes, after five quiet ones."),
    ] = None


class Autoscaling(Piece, frozen=True, kw_only=True):
    """Scaling by the work that waits."""

    mode: Annotated[
        Literal["None", "HPA", "KEDA", "External"],
        says(
            "None keeps spec.replicas. HPA makes a HorizontalPodAutoscaler on the queue depth; the "
            "operator itself answers its metric. KEDA makes a ScaledObject. External leaves the "
            "number of pods to an autoscaler of yours, on the Embedder or on its Deployment."
        ),
    ] = "None"
    min_replicas: Annotated[Count | None, says("Fewest pods. 0 only with KEDA. Default: 1.")] = None
    max_replicas: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None, says("Most pods. Needed for HPA and KEDA.")
    ] = None
    target_queue_depth: Annotated[
        Annotated[int, Meta(ge=1, le=100000)] | None,
        says("Requests per pod, waiting and running, that the autoscaler aims at. Default: 8."),
    ] = None
    target_drain_seconds: Annotated[
        Annotated[int, Meta(ge=1, le=3600)] | None,
        says("Aim at this many seconds of queued work per pod, in place of a number of requests."),
    ] = None
    exclude_bulk: Annotated[
        bool,
        says("Leave the bulk lane out of the count, so that a reindex buys no hardware."),
    ] = False
    behavior: Annotated[Behavior | None, says("How fast to move; ours suits slow starts.")] = None
    prometheus_address: Annotated[
        Url | None, says("Where KEDA asks for the queue depth. Needed for KEDA.")
    ] = None

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.mode) && self.mode in ['HPA', 'KEDA']) || has(self.maxReplicas)",
            "spec.autoscaling.mode HPA or KEDA needs maxReplicas: say how many pods there may be",
            lambda scaling: not scaling.by_us or scaling.max_replicas is not None,
        ),
        Rule(
            "!has(self.maxReplicas) || "
            "(has(self.minReplicas) ? self.minReplicas : 1) <= self.maxReplicas",
            "spec.autoscaling.minReplicas (1 when unset) may not exceed maxReplicas",
            lambda scaling: scaling.max_replicas is None or scaling.least <= scaling.max_replicas,
        ),
        Rule(
            "!(has(self.minReplicas) && self.minReplicas == 0) || "
            "(has(self.mode) && self.mode in ['KEDA', 'External'])",
            "spec.autoscaling.minReplicas 0 needs mode KEDA: an HPA cannot wake the first pod",
            lambda scaling: scaling.least > 0 or scaling.mode in {"KEDA", "External"},
        ),
        Rule(
            "!has(self.targetQueueDepth) || !has(self.targetDrainSeconds)",
            "spec.autoscaling takes targetQueueDepth or targetDrainSeconds: remove one of them",
            lambda scaling: (
                scaling.target_queue_depth is None or scaling.target_drain_seconds is None
            ),
        ),
        Rule(
            "!(has(self.excludeBulk) && self.excludeBulk) || !has(self.targetDrainSeconds)",
            "spec.autoscaling.excludeBulk counts requests: use it with targetQueueDepth",
            lambda scaling: not scaling.exclude_bulk or scaling.target_drain_seconds is None,
        ),
        Rule(
            "!(has(self.mode) && self.mode == 'KEDA') || has(self.prometheusAddress)",
            "spec.autoscaling.mode KEDA needs prometheusAddress, http://prometheus.monitoring:9090 "
            "say: KEDA reads the queue depth there",
            lambda scaling: scaling.mode != "KEDA" or scaling.prometheus_address is not None,
        ),
    )

    @property
    def by_us(self) -> bool:
        """Whether the operator makes an autoscaler."""
        return self.mode in {"HPA", "KEDA"}

    @property
    def least(self) -> int:
        """Fewest pods."""
        return 1 if self.min_replicas is None else self.min_replicas


class Rollout(Piece, frozen=True, kw_only=True):
    """How a change reaches the pods."""

    strategy: Annotated[
        Literal["Auto", "Surge", "InPlace", "Recreate"],
        says(
            "Surge starts the new pod before the old one stops. InPlace stops one first, for where "
            "there is no spare GPU. Recreate stops all first. Auto surges, and goes InPlace by "
            "itself when the new pod finds no room while old ones hold it."
        ),
    ] = "Auto"
    promotion: Annotated[
        Literal["Automatic", "Manual"],
        says(
            "What happens when vectors migrate: Automatic moves the Service to the new track once "
            "it is ready; Manual waits until `promote` names it."
        ),
    ] = "Automatic"
    promote: Annotated[
        Annotated[str, Meta(min_length=8, max_length=8, pattern="^[b-w]{8}$")] | None,
        says("Fingerprint of the track that shall serve, as status.tracks shows it. For Manual."),
    ] = None
    image_policy: Annotated[
        Literal["OnEdit", "OnUpgrade"],
        says(
            "When an upgrade of the operator reaches the pods: with the next edit of this "
            "Embedder, or at once. It is a rolling update, and a migration where the release "
            "computes other vectors (dtype int8; the changelog says so)."
        ),
    ] = "OnEdit"
    progress_deadline_seconds: Annotated[
        Seconds | None,
        says("After how long without progress a rollout counts as stuck. Default: 1800."),
    ] = None
