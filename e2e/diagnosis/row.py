"""One row of the diagnosis table: what is broken, what shall be said of it, what mends it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from e2e.cluster.cluster import EmbeddedCluster
from e2e.cluster.kubectl import Kubectl, Manifest
from e2e.diagnosis.facts import Fact, an_edit
from e2e.embedder import Embedder

# They stand in the specs for images that are built when the cases run.
OPERATOR_IMAGE = "{operator-image}"
SERVICE_IMAGE = "{service-image}"


@dataclass(frozen=True)
class Scene:
    """Where a row is played: its Embedder, the namespace, and the cluster if its nodes are ours."""

    embedder: Embedder
    kubectl: Kubectl
    cluster: EmbeddedCluster | None
    operator_image: str
    service_image: str

    def filled(self, spec: Manifest) -> Manifest:
        """A spec with the images in it."""
        text = json.dumps(spec).replace(OPERATOR_IMAGE, self.operator_image)
        done: Manifest = json.loads(text.replace(SERVICE_IMAGE, self.service_image))
        return done


Act = Callable[[Scene], None]


def nothing(_: Scene) -> None:
    """Leave everything as it is."""


@dataclass(frozen=True, eq=False)
class Row:
    """A fault, from its cause to its cure."""

    name: str
    """The fault, and the Embedder that has it."""
    reason: str
    says: tuple[str, ...]
    """Words of the message: what a person needs to find the place."""
    mend: Act
    fact: Fact = an_edit
    """How Kubernetes itself shows the fault; the 30 seconds count from there."""
    spec: Manifest = field(default_factory=dict)
    """What is written over an Embedder that works."""
    breaks: Act | None = None
    """What breaks it once it is Ready; without it, the spec does."""
    before: Act = nothing
    after: Act = nothing
    """Takes away what lies outside the namespace."""
    serves: bool = False
    """Whether it is a fault beside the pods: Degraded, and requests are answered."""
    is_real: bool = False
    """Whether the service itself has to run; else a stand-in does, which starts at once."""
    is_embedded: bool = False
    """Whether it needs nodes that can be stopped, or GPUs that are pretended."""

    def __str__(self) -> str:
        """Its name, as pytest shows it."""
        return self.name
