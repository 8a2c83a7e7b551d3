"""The Embedder as a person writes it: every field with its words, its bounds and its rules.

This is the one source: the CRD, its rules and the reference page are generated from it. It says
what may be written; what is made of it is decided in `tracks` and `resources`.
"""

from typing import Annotated, ClassVar

from msgspec import Meta

from smart_embedder_operator.spec.fields import Count, Piece, Rule, says
from smart_embedder_operator.spec.hardware import Hardware
from smart_embedder_operator.spec.models import CaBundle, Hub, Models, Proxy
from smart_embedder_operator.spec.network import (
    Auth,
    Availability,
    Monitoring,
    NetworkPolicySpec,
    Route,
    ServiceSpec,
)
from smart_embedder_operator.spec.pod import EnvVar, Image, PodTemplate
from smart_embedder_operator.spec.scaling import Autoscaling, Rollout
from smart_embedder_operator.spec.serving import Serving, Tracing
from smart_embedder_operator.spec.storage import Cache

GROUP = "smart-embedder.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "Embedder"
PLURAL = "embedders"

LONGEST_NAME = 40
"""So that every child's name fits 63, the longest being <name>-<fingerprint>-warm-<hash>."""


class Spec(Piece, frozen=True, kw_only=True):
    """What is wanted."""

    models: Annotated[Models, says("The models to serve; at least one.")]
    image: Annotated[Image, says("The image of the service.")] = Image()
    hub: Annotated[Hub, says("Where model files are downloaded from.")] = Hub()
    ca_bundle: Annotated[
        CaBundle | None, says("Certificate authorities to trust in place of the public ones.")
    ] = None
    proxy: Annotated[Proxy | None, says("The proxy that downloads go through.")] = None
    env: Annotated[
        Annotated[tuple[EnvVar, ...], Meta(max_length=64)],
        says("Variables of the serving container, for settings that have no field here."),
    ] = ()
    hardware: Annotated[Hardware, says("Where the pods run and what they get there.")] = Hardware()
    serving: Annotated[Serving, says("Limits of one pod.")] = Serving()
    replicas: Annotated[
        Count | None,
        says(
            "Number of pods. Unset starts with 1 and leaves the number to whoever scales the "
            "Deployment. Leave it unset with autoscaling.mode HPA or KEDA."
        ),
    ] = None
    autoscaling: Annotated[Autoscaling, says("Scaling by the work that waits.")] = Autoscaling()
    rollout: Annotated[Rollout, says("How a change reaches the pods.")] = Rollout()
    cache: Annotated[Cache, says("Where model files are kept between pods.")] = Cache()
    tracing: Annotated[Tracing | None, says("Traces by OpenTelemetry.")] = None
    service: Annotated[ServiceSpec, says("The Service in front of the pods.")] = ServiceSpec()
    auth: Annotated[Auth | None, says("Who may call the API. Unset means everyone.")] = None
    route: Annotated[Route | None, says("An HTTPRoute that leads to the Service.")] = None
    availability: Annotated[Availability, says("How the pods hold out when nodes go.")] = (
        Availability()
    )
    network_policy: Annotated[NetworkPolicySpec, says("What the network lets through.")] = (
        NetworkPolicySpec()
    )
    monitoring: Annotated[Monitoring, says("Objects for the Prometheus operator.")] = Monitoring()
    pod_template: Annotated[
        PodTemplate, says("The escape hatch: merged over the pods the operator would make.")
    ] = PodTemplate()
    paused: Annotated[
        bool,
        says("Leave everything as it is until this is false again; status is still kept."),
    ] = False

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.replicas) || !has(self.autoscaling) || !has(self.autoscaling.mode) || "
            "!(self.autoscaling.mode in ['HPA', 'KEDA'])",
            "spec.replicas and spec.autoscaling.mode exclude each other: remove replicas while "
            "an autoscaler scales (the running number does not change by that)",
            lambda spec: spec.replicas is None or not spec.autoscaling.by_us,
        ),
        Rule(
            "!(has(self.cache) && has(self.cache.type) && self.cache.type == 'PVC' && "
            "!(has(self.cache.accessMode) && self.cache.accessMode == 'ReadWriteMany')) || "
            "((!has(self.replicas) || self.replicas <= 1) && "
            "(!has(self.autoscaling) || !has(self.autoscaling.maxReplicas) || "
            "self.autoscaling.maxReplicas <= 1))",
            "a ReadWriteOnce cache serves one pod: set spec.cache.accessMode to ReadWriteMany, or "
            "use EmptyDir, ExistingClaim or Image for more than one",
            lambda spec: (
                not spec.cache_is_exclusive
                or ((spec.replicas or 0) <= 1 and (spec.autoscaling.max_replicas or 0) <= 1)
            ),
        ),
        Rule(
            "!(has(self.hub) && has(self.hub.offline) && self.hub.offline && has(self.cache) && "
            "has(self.cache.prewarm) && self.cache.prewarm)",
            "spec.cache.prewarm downloads models and spec.hub.offline forbids it: remove one",
            lambda spec: not (spec.hub.offline and spec.cache.prewarm),
        ),
    )

    @property
    def cache_is_exclusive(self) -> bool:
        """Whether only one node at a time can mount the cache."""
        return self.cache.type == "PVC" and self.cache.access_mode != "ReadWriteMany"


class Embedder(Piece, frozen=True, kw_only=True):
    """One Embedder of the cluster."""

    name: str
    namespace: str
    uid: str = ""
    generation: int = 0
    created: str = ""
    spec: Spec
