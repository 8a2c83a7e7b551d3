"""Everything from inside: one registry for every image, models from a volume, no hub to ask."""

import pytest
import yaml

from e2e.cluster.images import REPOSITORY
from e2e.cluster.kubectl import Kubectl, Manifest
from e2e.embedder import Embedder
from e2e.questions import EMBEDDING, RERANK, ask
from e2e.release import Release, Version
from e2e.workloads import pod

MIRROR = "localhost"
EXAMPLE = REPOSITORY / "examples" / "air-gapped.yaml"


@pytest.fixture
def models(kubectl: Kubectl, service_image: str) -> None:
    """A claim that holds model folders, filled as a person would fill it."""
    size = {"requests": {"storage": "1Gi"}}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": size}
    metadata = {"name": "models"}
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata,
            "spec": claim,
        },
        filler(service_image),
    )
    done = "--for=jsonpath={.status.phase}=Succeeded"
    kubectl("wait", "pod/filler", done, "--timeout=200s", timeout=210)


def filler(image: str) -> Manifest:
    """A pod that writes models into the claim."""
    command = ["smart-embedder", "models", "demo", "/models"]
    writer = pod("filler", image, command, memory="2Gi", restartPolicy="Never")
    volumes = [
        {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    writer["spec"] |= {"volumes": volumes, "securityContext": {"fsGroup": 65532}}
    writer["spec"]["containers"][0]["volumeMounts"] = [
        {"name": "models", "mountPath": "/models"},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    return writer


@pytest.mark.usefixtures("models")
def test_the_air_gapped_example_serves_from_a_mirror_and_a_volume(
    release: Release, kubectl: Kubectl, current: Version
) -> None:
    release.upgrade(
        current,
        'image.registry="unreachable.invalid"',
        'service.image.registry="unreachable.invalid"',
        f'global.imageRegistry="{MIRROR}"',
        'global.imagePullSecrets=[{"name": "registry"}]',
    )
    embedder = Embedder(kubectl)
    written = yaml.safe_load(EXAMPLE.read_text())["spec"]
    # The released GPU image and a GPU are not to be had here; all else is as the example has it.
    del written["image"], written["hardware"]
    embedder.create(**written)
    embedder.ready()

    embedding, ranking = ask(kubectl, current.operator, embedder.endpoint, EMBEDDING, RERANK)

    assert embedding["data"]
    assert len(ranking["results"]) == 2
    [serving] = embedder.pods()
    assert serving["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert serving["spec"]["containers"][0]["image"] == current.service
    [claimed] = [one for one in serving["spec"]["volumes"] if "persistentVolumeClaim" in one]
    assert claimed["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
