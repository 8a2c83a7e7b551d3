"""The diagnosis table: each fault as it happens in a cluster, seen on the Embedder, mended, gone.

A group of rows is broken together in one namespace and mended together. The seconds count from
the moment Kubernetes itself shows the fault, or from the edit where it is one.
"""

import secrets

import pytest

from e2e import evidence, foreign
from e2e.cluster.kubectl import Kubectl
from e2e.diagnosis import facts
from e2e.diagnosis.acts import (
    advertise,
    both,
    create,
    edit,
    hold,
    install,
    release,
    remove,
    remove_kinds,
    start_stopped_nodes,
    stop_its_node,
    withdraw,
)
from e2e.diagnosis.course import Course, Play
from e2e.diagnosis.hub import ENDPOINT, open_hub
from e2e.diagnosis.manifests import (
    asks_for,
    cache,
    quota,
    route,
    secret,
    storage_class,
    template,
    volume,
)
from e2e.diagnosis.row import SERVICE_IMAGE, Row, nothing
from e2e.diagnosis.stand_in import CONTAINER, STAND_IN, WAITING
from e2e.embedder import SMALL
from e2e.target import Embedded, Target
from e2e.workloads import GPU_TOLERATION, restricted_namespace

WITHIN_SECONDS = 30.0
WORKING = {"embedding": "demo/bge-m3", "dtype": "float32"}


IMAGES = (
    Row(
        "image-does-not-exist",
        reason="ImagePullFailed",
        says=("localhost/nowhere:1", "spec.image.reference"),
        fact=facts.waits("ErrImagePull", "ImagePullBackOff"),
        spec={"image": {"reference": "localhost/nowhere:1"}},
        mend=edit(image=STAND_IN["image"]),
    ),
    Row(
        "pull-secret-missing",
        reason="PullSecretMissing",
        says=("registry-login", "kubectl create secret docker-registry"),
        fact=facts.waits("ErrImagePull", "ImagePullBackOff"),
        spec={"image": {"reference": "localhost/private:1", "pullSecrets": ["registry-login"]}},
        mend=both(
            create(
                secret(
                    "registry-login",
                    "kubernetes.io/dockerconfigjson",
                    **{".dockerconfigjson": '{"auths": {}}'},
                )
            ),
            edit(image=STAND_IN["image"]),
        ),
    ),
    Row(
        "token-secret-missing",
        reason="SecretMissing",
        says=("api-token", "Create the Secret"),
        fact=facts.waits("CreateContainerConfigError"),
        spec={"auth": {"secretRef": {"name": "api-token"}}},
        mend=create(secret("api-token", "Opaque", token="s3cret")),
    ),
    Row(
        "profile-unknown",
        reason="ProfileNotFound",
        says=("'h900'", "cpu-small"),
        spec={"hardware": {"profile": "h900"}},
        mend=edit(hardware={"profile": None, "resources": SMALL}),
    ),
    Row(
        "two-faults-at-once",
        reason="ImagePullFailed",
        says=("localhost/nowhere:2", "| CRDNotInstalled: ", "ScaledObject"),
        fact=facts.waits("ErrImagePull", "ImagePullBackOff"),
        spec={
            "image": {"reference": "localhost/nowhere:2"},
            "autoscaling": {
                "mode": "KEDA",
                "maxReplicas": 2,
                "prometheusAddress": "http://prometheus:9090",
            },
        },
        mend=edit(image=STAND_IN["image"], autoscaling=None),
    ),
)

PLACES = (
    Row(
        "no-gpu-in-the-cluster",
        reason="NoGPU",
        says=("no node of this cluster has nvidia.com/mig-7g.80gb", "Add a GPU node"),
        fact=facts.finds_no_node("Insufficient nvidia.com/mig-7g.80gb"),
        spec={"hardware": asks_for("nvidia.com/mig-7g.80gb")},
        mend=advertise("nvidia.com/mig-7g.80gb"),
        after=withdraw("nvidia.com/mig-7g.80gb"),
    ),
    Row(
        "gpus-all-taken",
        reason="InsufficientGPU",
        says=("needs 1 nvidia.com/mig-1g.10gb and none is free", "Free one"),
        before=both(advertise("nvidia.com/mig-1g.10gb"), hold("nvidia.com/mig-1g.10gb")),
        fact=facts.finds_no_node("Insufficient nvidia.com/mig-1g.10gb"),
        spec={"hardware": asks_for("nvidia.com/mig-1g.10gb")},
        mend=release,
        after=withdraw("nvidia.com/mig-1g.10gb"),
    ),
    Row(
        "quota-exceeded",
        reason="QuotaExceeded",
        says=("nvidia.com/mig-2g.20gb", "Raise the ResourceQuota"),
        before=both(
            advertise("nvidia.com/mig-2g.20gb"), create(quota("nvidia.com/mig-2g.20gb", "0"))
        ),
        fact=facts.deployment_says("ReplicaFailure", "exceeded quota"),
        spec={"hardware": asks_for("nvidia.com/mig-2g.20gb")},
        mend=create(quota("nvidia.com/mig-2g.20gb", "1")),
        after=withdraw("nvidia.com/mig-2g.20gb"),
    ),
    Row(
        "volume-claim-unbound",
        reason="UnboundVolume",
        says=("volume-claim-unbound-", "is pending", "provide a volume"),
        before=create(storage_class("e2e-by-hand")),
        fact=facts.finds_no_node("unbound immediate PersistentVolumeClaims"),
        spec={"cache": cache("e2e-by-hand")},
        mend=create(volume("e2e-by-hand")),
        after=remove("persistentvolume,storageclass", "e2e-by-hand"),
    ),
    Row(
        "storage-class-missing",
        reason="StorageClassMissing",
        says=("'e2e-absent'", "spec.cache.storageClassName"),
        fact=facts.claim_is_told("ProvisioningFailed", "not found"),
        spec={"cache": cache("e2e-absent")},
        mend=create(storage_class("e2e-absent"), volume("e2e-absent")),
        after=remove("persistentvolume,storageclass", "e2e-absent"),
    ),
    Row(
        "rollout-deadlocked",
        reason="RolloutDeadlock",
        says=("this Embedder's own older pods hold", "spec.rollout.strategy"),
        before=advertise("nvidia.com/mig-3g.40gb"),
        spec={
            "hardware": asks_for("nvidia.com/mig-3g.40gb"),
            "rollout": {"strategy": "Surge"},
        },
        breaks=edit(serving={"queueSize": 99}),
        fact=facts.finds_no_node("Insufficient nvidia.com/mig-3g.40gb"),
        mend=edit(rollout={"strategy": "Auto"}),
        after=withdraw("nvidia.com/mig-3g.40gb"),
    ),
)

MODELS = (
    Row(
        "model-name-wrong",
        reason="ModelNotFound",
        says=("acme/bge-m4", "spec.models"),
        before=open_hub,
        fact=facts.ended("ModelNotFound"),
        is_real=True,
        spec={"models": {"embedding": "acme/bge-m4"}, "hub": {"endpoint": ENDPOINT}},
        mend=edit(models={"embedding": "demo/bge-m3"}),
    ),
    Row(
        "model-gated",
        reason="ModelGated",
        says=("gated/bge-m3", "spec.hub.tokenSecretRef"),
        before=open_hub,
        fact=facts.ended("ModelGated"),
        is_real=True,
        spec={"models": {"embedding": "gated/bge-m3"}, "hub": {"endpoint": ENDPOINT}},
        mend=edit(models={"embedding": "demo/bge-m3"}),
    ),
    Row(
        "hub-out-of-reach",
        reason="ModelDownloadFailed",
        says=("BAAI/bge-m3", "spec.networkPolicy.egress"),
        fact=facts.ended("ModelDownloadFailed"),
        is_real=True,
        spec={"models": {"embedding": "BAAI/bge-m3"}, "hub": {"endpoint": "http://127.0.0.1:9"}},
        mend=edit(models={"embedding": "demo/bge-m3"}),
    ),
    Row(
        "offline-and-not-cached",
        reason="ModelNotCached",
        says=("BAAI/bge-m3", "spec.hub.offline"),
        fact=facts.ended("ModelNotFound"),
        is_real=True,
        spec={"models": {"embedding": "BAAI/bge-m3"}, "hub": {"offline": True}},
        mend=edit(models={"embedding": "demo/bge-m3"}),
    ),
)

ENDS = (
    Row(
        "killed-for-memory",
        reason="OOMKilled",
        says=("96Mi", "Raise the memory limit"),
        fact=facts.ended("OOMKilled"),
        is_real=True,
        spec={
            "hardware": {"resources": {"requests": {"cpu": "20m"}, "limits": {"memory": "96Mi"}}}
        },
        mend=edit(hardware={"resources": SMALL}),
    ),
    Row(
        "crash-loop",
        reason="CrashLoop",
        says=("exit code 1: the licence file is damaged", "kubectl logs"),
        fact=facts.ended("the licence file is damaged"),
        spec={
            "podTemplate": template(
                command=[
                    "python3",
                    "-c",
                    "raise SystemExit('checking\\nthe licence file is damaged')",
                ]
            )
        },
        mend=edit(podTemplate=STAND_IN["podTemplate"]),
    ),
    Row(
        "readiness-failing",
        reason="ReadinessFailing",
        says=("Readiness probe failed: HTTP probe failed with statuscode: 404", "kubectl describe"),
        fact=facts.runs_unready,
        spec={"podTemplate": template(readinessProbe={"httpGet": {"path": "/nowhere"}})},
        mend=edit(podTemplate=STAND_IN["podTemplate"]),
    ),
    Row(
        "unseen-cause",
        reason="Unknown",
        says=("has timed out progressing", "is Pending", "No known cause fits"),
        fact=facts.deployment_says("Progressing", "ProgressDeadlineExceeded"),
        spec={
            "rollout": {"progressDeadlineSeconds": 5},
            "podTemplate": {"spec": {"containers": [CONTAINER], "initContainers": [WAITING]}},
        },
        mend=edit(podTemplate={"spec": {"initContainers": None}}, rollout=None),
    ),
)

AROUND = (
    Row(
        "autoscaler-without-metrics",
        reason="MetricsUnavailable",
        says=("gets no queue depth", "metricsApi"),
        fact=facts.autoscaler_is_blind,
        spec={
            "autoscaling": {"mode": "HPA", "maxReplicas": 2},
            "env": [{"name": "METRICS_PORT", "value": "9999"}],
        },
        mend=edit(env=None),
        serves=True,
    ),
    Row(
        "service-monitor-not-installed",
        reason="CRDNotInstalled",
        says=("spec.monitoring.serviceMonitor", "Install it"),
        before=remove_kinds(foreign.SERVICE_MONITOR),
        spec={"monitoring": {"serviceMonitor": "Enabled"}},
        mend=install(foreign.SERVICE_MONITOR),
        after=remove_kinds(foreign.SERVICE_MONITOR),
        serves=True,
    ),
    Row(
        "route-claimed-by-two",
        reason="RouteConflict",
        says=(
            "/route-of-another claims search.example.com of Gateway gateway",
            "spec.route.hostnames",
        ),
        before=install(foreign.HTTP_ROUTE),
        spec={"route": route("search.example.com")},
        mend=nothing,
        serves=True,
    ),
    Row(
        "route-of-another",
        reason="RouteConflict",
        says=("/route-claimed-by-two claims search.example.com of Gateway gateway",),
        spec={"route": route("search.example.com")},
        mend=edit(route=route("other.example.com")),
        after=remove_kinds(foreign.HTTP_ROUTE),
        serves=True,
    ),
)

GPU_NODES = (
    Row(
        "gpu-absent-inside-the-pod",
        reason="DeviceUnavailable",
        says=("cuda", "hardware.runtimeClassName"),
        fact=facts.ended("DeviceUnavailable"),
        is_real=True,
        spec={
            "models": WORKING,
            "image": {"reference": SERVICE_IMAGE},
            "hardware": asks_for("nvidia.com/gpu", device="cuda", tolerations=[GPU_TOLERATION]),
        },
        mend=edit(hardware={"device": "cpu"}),
    ),
)

LOST_NODES = (
    Row(
        "node-lost",
        reason="NodeLost",
        says=("does not answer", "delete it"),
        spec={
            "hardware": {
                "resources": SMALL,
                "nodeSelector": {"nvidia.com/gpu.present": "true"},
                "tolerations": [GPU_TOLERATION],
            }
        },
        breaks=stop_its_node,
        fact=facts.node_is_gone,
        mend=start_stopped_nodes,
        after=start_stopped_nodes,
        stops_nodes=True,
    ),
)

TABLE = (IMAGES, PLACES, MODELS, ENDS, AROUND, GPU_NODES, LOST_NODES)
CORE = {"token-secret-missing"}
CASES = [
    pytest.param(row, id=row.name, marks=[pytest.mark.core] if row.name in CORE else [])
    for rows in TABLE
    for row in rows
]


@pytest.fixture(scope="module")
def courses(
    request: pytest.FixtureRequest,
    target: Target,
    operator: Kubectl,
    operator_image: str,
    service_image: str,
) -> dict[str, Course]:
    """The rows that were asked for, played group by group, each group in a namespace of its own."""
    assert operator.namespace
    played: dict[str, Course] = {}
    for group in TABLE:
        rows = [row for row in group if row.name in _asked(request)]
        if not rows:
            continue
        name = f"e2e-{secrets.token_hex(4)}"
        target.kubectl.apply(restricted_namespace(name))
        play = Play(
            rows,
            target.kubectl.inside(name),
            target.cluster if isinstance(target, Embedded) else None,
            operator_image=operator_image,
            service_image=service_image,
        )
        play.run()
        if not all(course.is_through for course in play.courses.values()):
            print(f"evidence: {evidence.keep(f'diagnosis-{rows[0]}', play.kubectl)}")
        target.kubectl("delete", "namespace", name, "--wait=false")
        played |= play.courses
    return played


def _asked(request: pytest.FixtureRequest) -> set[str]:
    """What `-k` and `-m` left of the table."""
    cases = [item for item in request.session.items if item.parent is request.node]
    return {str(each.callspec.params["row"]) for each in cases if isinstance(each, pytest.Function)}


@pytest.mark.parametrize("row", CASES)
def test_the_embedder_says_what_is_wrong_and_takes_it_back(
    courses: dict[str, Course], row: Row
) -> None:
    course = courses[row.name]
    print(f"told after {course.until_told:.1f} s, cleared after {course.until_cleared:.1f} s")
    assert course.until_told <= WITHIN_SECONDS
    assert course.until_cleared <= WITHIN_SECONDS
