"""Diagnosis: every fault has its own reason, says what to do, and is gone when it is mended."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from smart_embedder_operator.conditions import ADVICE, Reason, evaluate
from smart_embedder_operator.decision import decide
from smart_embedder_operator.observed import Manifest, Nodes, Observed, PodReport, Refusal

Write = Callable[..., Manifest]
Fault = Callable[[Any, str], None]
"""Puts a fault into a world whose serving track is given."""

LIMITS = {"nvidia.com/gpu": "1", "memory": "16Gi"}


def conditions_of(status: Manifest) -> dict[str, Manifest]:
    return {condition["type"]: condition for condition in status["conditions"]}


def down(world: Any) -> None:
    """The serving Deployment has one pod, which does not answer."""
    for deployment in world.deployments().values():
        deployment["status"] = {
            "replicas": 1,
            "updatedReplicas": 1,
            "unavailableReplicas": 1,
            "observedGeneration": deployment["metadata"]["generation"],
        }


def waiting(reason: str, message: str = "", **status: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"name": "embedder", "ready": False, "state": state} | status]}


def crashed(message: str, *, reason: str = "Error", code: int = 1) -> dict[str, Any]:
    end = {
        "reason": reason,
        "exitCode": code,
        "message": message,
        "finishedAt": "2026-11-20T11:59:00Z",
    }
    return waiting("CrashLoopBackOff", "back-off", lastState={"terminated": end}, restartCount=3)


def told(reason: str, message: str = "what the service says") -> dict[str, Any]:
    return crashed("loading\n" + json.dumps({"reason": reason, "message": message}))


def unplaced(message: str) -> dict[str, Any]:
    verdict = {"type": "PodScheduled", "status": "False", "message": message}
    return {"phase": "Pending", "conditions": [verdict]}


def with_pod(**status: Any) -> Fault:
    return lambda world, track: world.pod(track, limits=LIMITS, **status)


def with_event(reason: str, message: str, **status: Any) -> Fault:
    def inject(world: Any, track: str) -> None:
        world.pod(track, **status)
        world.event("Pod", "pod-1", reason, message)

    return inject


def unscheduled(message: str, nodes: Nodes | None = None) -> Fault:
    def inject(world: Any, track: str) -> None:
        world.nodes = nodes or world.nodes
        world.pod(track, node=None, limits=LIMITS, **unplaced(message))

    return inject


def refused(message: str) -> Fault:
    def inject(world: Any, track: str) -> None:
        world.child("Deployment", f"search-{track}")["status"]["conditions"] = [
            {"type": "ReplicaFailure", "status": "True", "message": message}
        ]

    return inject


def claim(phase: str, event: str = "", message: str = "") -> Fault:
    def inject(world: Any, _: str) -> None:
        world.children["PersistentVolumeClaim", "search-cache"] = {
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "search-cache"},
            "status": {"phase": phase},
        }
        world.event("PersistentVolumeClaim", "search-cache", event, message)

    return inject


def lost_node(world: Any, track: str) -> None:
    world.nodes = Nodes(lost=frozenset({"node-1"}))
    world.pod(track)


def running(*, event: str) -> Fault:
    def inject(world: Any, track: str) -> None:
        state = {"running": {"startedAt": world.now.isoformat()}}
        world.pod(track, containerStatuses=[{"ready": False, "started": True, "state": state}])
        world.event("Pod", "pod-1", "Unhealthy", event)

    return inject


FAULTS: list[tuple[Reason, Fault]] = [
    (Reason.IMAGE_PULL_FAILED, with_pod(**waiting("ImagePullBackOff", "nginx:nope: not found"))),
    (Reason.IMAGE_PULL_FAILED, with_pod(**waiting("InvalidImageName", "a b"))),
    (
        Reason.PULL_SECRET_MISSING,
        with_event(
            "FailedToRetrieveImagePullSecret",
            "Unable to retrieve some image pull secrets (registry)",
            **waiting("ErrImagePull", "401 Unauthorized"),
        ),
    ),
    (
        Reason.NO_GPU,
        unscheduled("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", Nodes()),
    ),
    (
        Reason.NO_GPU,
        unscheduled("0/3 nodes are available: 3 didn't match Pod's node selector.", Nodes()),
    ),
    (
        Reason.INSUFFICIENT_GPU,
        unscheduled("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
    ),
    (Reason.INSUFFICIENT_RESOURCES, unscheduled("0/3 nodes are available: 3 Insufficient memory.")),
    (Reason.UNSCHEDULABLE, unscheduled("0/3 nodes are available: 3 had untolerated taint.")),
    (Reason.CLAIM_MISSING, unscheduled('persistentvolumeclaim "models" not found')),
    (
        Reason.QUOTA_EXCEEDED,
        refused('pods "search" is forbidden: exceeded quota: team, requested: pods=1'),
    ),
    (
        Reason.POD_SECURITY_REFUSED,
        refused('pods "x" is forbidden: violates PodSecurity "restricted"'),
    ),
    (Reason.RUNTIME_CLASS_MISSING, refused('pod rejected: RuntimeClass "nvidia" not found')),
    (Reason.PRIORITY_CLASS_MISSING, refused("no PriorityClass with name serving was found")),
    (Reason.PODS_REFUSED, refused('admission webhook "policy.example.com" denied the request')),
    (
        Reason.UNBOUND_VOLUME,
        claim("Pending", "FailedBinding", "no persistent volumes available for this claim"),
    ),
    (Reason.UNBOUND_VOLUME, claim("Lost")),
    (Reason.UNBOUND_VOLUME, unscheduled("pod has unbound immediate PersistentVolumeClaims")),
    (
        Reason.STORAGE_CLASS_MISSING,
        claim("Pending", "ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found'),
    ),
    (
        Reason.MOUNT_FAILED,
        with_event("FailedAttachVolume", "Multi-Attach error", **waiting("ContainerCreating")),
    ),
    (
        Reason.CONFIG_MAP_MISSING,
        with_event(
            "FailedMount",
            'MountVolume.SetUp failed for volume "ca": configmap "company-ca" not found',
            **waiting("ContainerCreating"),
        ),
    ),
    (
        Reason.RUNTIME_CLASS_MISSING,
        with_event(
            "FailedCreatePodSandBox",
            'no runtime for "nvidia" is configured',
            **waiting("ContainerCreating"),
        ),
    ),
    (
        Reason.SECRET_MISSING,
        with_pod(**waiting("CreateContainerConfigError", 'secret "hub-token" not found')),
    ),
    (
        Reason.SECRET_MISSING,
        with_pod(
            **waiting("CreateContainerConfigError", "couldn't find key token in Secret team/hub")
        ),
    ),
    (Reason.CONTAINER_START_FAILED, with_pod(**waiting("RunContainerError", "no such file"))),
    (Reason.MODEL_NOT_FOUND, with_pod(**told("ModelNotFound"))),
    (Reason.MODEL_GATED, with_pod(**told("ModelGated"))),
    (Reason.MODEL_DOWNLOAD_FAILED, with_pod(**told("ModelDownloadFailed"))),
    (Reason.MODEL_LOAD_FAILED, with_pod(**told("ModelLoadFailed"))),
    (Reason.DEVICE_UNAVAILABLE, with_pod(**told("DeviceUnavailable"))),
    (Reason.INVALID_SETTINGS, with_pod(**told("InvalidSettings"))),
    (Reason.OOM_KILLED, with_pod(**crashed("", reason="OOMKilled", code=137))),
    (Reason.CRASH_LOOP, with_pod(**crashed("Traceback\nValueError: bad value"))),
    (
        Reason.STARTUP_TIMEOUT,
        with_event("Unhealthy", "Startup probe failed: 503", **crashed("", code=137)),
    ),
    (Reason.READINESS_FAILING, running(event="Readiness probe failed: HTTP probe failed: 503")),
    (Reason.NODE_LOST, lost_node),
    (Reason.UNKNOWN, with_pod(**waiting("SomethingNew", "never heard of"))),
]


@pytest.mark.parametrize(("reason", "inject"), FAULTS)
def test_a_fault_is_named_told_and_forgotten(
    world: Any, embedder: Write, reason: Reason, inject: Fault
) -> None:
    manifest = embedder()
    track = world.step(manifest).plan.target
    down(world)
    inject(world, track)
    sick = conditions_of(world.evaluate(manifest))
    assert (sick["Ready"]["status"], sick["Ready"]["reason"]) == ("False", reason)
    assert (sick["Degraded"]["status"], sick["Degraded"]["reason"]) == ("True", reason)
    assert ADVICE[reason] in sick["Ready"]["message"]
    assert (
        f"https://docs.example.com/troubleshooting.md#{reason.lower()}" in sick["Ready"]["message"]
    )

    world.pods.clear()
    world.events.clear()
    world.nodes = Nodes()
    world.children.pop(("PersistentVolumeClaim", "search-cache"), None)
    world.settle()
    well = conditions_of(world.evaluate(manifest))
    assert (well["Ready"]["status"], well["Degraded"]["status"]) == ("True", "False")


PAST = [
    pytest.param(
        with_event(
            "FailedToRetrieveImagePullSecret", "(registry)", **waiting("ImagePullBackOff", "401")
        ),
        ("Pod", "pod-1", "BackOff"),
        Reason.IMAGE_PULL_FAILED,
        id="a pull secret that the last try found",
    ),
    pytest.param(
        with_event(
            "FailedMount", 'configmap "company-ca" not found', **waiting("ContainerCreating")
        ),
        ("Pod", "pod-1", "Pulling"),
        None,
        id="a mount before the image came",
    ),
    pytest.param(
        with_event("FailedCreatePodSandBox", "no network yet", **waiting("ContainerCreating")),
        ("Pod", "pod-1", "Pulling"),
        None,
        id="a sandbox before the image came",
    ),
    pytest.param(
        claim("Pending", "ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found'),
        ("PersistentVolumeClaim", "search-cache", "WaitForFirstConsumer"),
        None,
        id="a class that is there now",
    ),
]


@pytest.mark.parametrize(("inject", "further", "left"), PAST)
def test_what_an_object_has_got_over_is_no_fault_any_more(
    world: Any, embedder: Write, inject: Fault, further: tuple[str, str, str], left: Reason | None
) -> None:
    manifest = embedder()
    track = world.step(manifest).plan.target
    down(world)
    inject(world, track)
    assert conditions_of(world.evaluate(manifest))["Degraded"]["reason"] != left
    world.now += timedelta(seconds=30)
    world.event(*further, "it went on")
    said = conditions_of(world.evaluate(manifest))["Degraded"]
    assert said["reason"] == (left or "NoFault")
    assert "PullSecretMissing" not in said["message"]


def test_two_faults_at_once_are_both_told(world: Any, embedder: Write) -> None:
    manifest = embedder(monitoring={"serviceMonitor": "Enabled"})
    known = msgspec.structs.replace(world.platform.capabilities, service_monitor=False)
    world.platform = msgspec.structs.replace(world.platform, capabilities=known)
    track = world.step(manifest).plan.target
    down(world)
    world.pod(track, **told("ModelGated"))
    said = conditions_of(world.evaluate(manifest))["Ready"]
    assert said["reason"] == "ModelGated"
    assert "CRDNotInstalled" in said["message"]


def test_what_lacks_beside_the_pods_is_no_reason_why_they_are_not_there(
    world: Any, embedder: Write
) -> None:
    cache = {"type": "PVC", "prewarm": True}
    manifest = embedder(monitoring={"serviceMonitor": "Enabled"}, cache=cache)
    known = msgspec.structs.replace(world.platform.capabilities, service_monitor=False)
    world.platform = msgspec.structs.replace(world.platform, capabilities=known)
    world.step(manifest)
    said = conditions_of(world.evaluate(manifest))
    assert said["Ready"]["reason"] == "Downloading"
    assert said["Degraded"]["reason"] == "CRDNotInstalled"


def test_the_words_of_the_service_reach_the_person(world: Any, embedder: Write) -> None:
    track = world.step(embedder()).plan.target
    world.pod(track, **told("ModelNotFound", "no model BAAI/bge-m33 on the hub"))
    status = world.evaluate(embedder())
    assert "no model BAAI/bge-m33 on the hub" in conditions_of(status)["Ready"]["message"]
    assert status["lastFailure"] == {
        "reason": "ModelNotFound",
        "message": "no model BAAI/bge-m33 on the hub",
        "pod": "pod-1",
        "exitCode": 1,
        "time": "2026-11-20T11:59:00Z",
    }


def test_a_model_missing_offline_is_a_matter_of_the_cache(world: Any, embedder: Write) -> None:
    manifest = embedder(hub={"offline": True})
    track = world.step(manifest).plan.target
    world.pod(track, **told("ModelNotFound"))
    assert conditions_of(world.evaluate(manifest))["Ready"]["reason"] == "ModelNotCached"


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"models": {}}, "InvalidSpec", "name at least one model"),
        ({"hardware": {"profile": "h1000"}}, "ProfileNotFound", "cpu, cpu-small, nvidia"),
    ],
)
def test_a_spec_that_cannot_be_followed_leaves_the_endpoint_available(
    world: Any, embedder: Write, spec: dict[str, Any], reason: str, words: str
) -> None:
    world.converge(embedder())
    said = conditions_of(world.evaluate(embedder(generation=2, **spec)))
    assert (said["Ready"]["status"], said["Ready"]["reason"]) == ("False", reason)
    assert words in said["Ready"]["message"]
    assert said["Available"]["status"] == "True"


def test_a_node_on_its_way_is_no_fault(world: Any, embedder: Write) -> None:
    track = world.step(embedder()).plan.target
    down(world)
    unscheduled("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")(world, track)
    world.event("Pod", "pod-1", "TriggeredScaleUp", "pod triggered scale-up: [group 1->2]")
    said = conditions_of(world.evaluate(embedder()))
    assert said["Degraded"]["status"] == "False"
    assert said["Ready"]["reason"] == "WaitingForNode"


def test_a_surge_that_the_old_pods_block_is_a_deadlock_when_surge_was_asked_for(
    world: Any, embedder: Write
) -> None:
    surge = embedder(rollout={"strategy": "Surge"})
    track = world.converge(surge).plan.target
    world.pod(track, "old", revision="a")
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    world.pod(track, "new", revision="b", node=None, limits=LIMITS, **unplaced(message))
    assert conditions_of(world.evaluate(surge))["Degraded"]["reason"] == "RolloutDeadlock"
    auto = embedder()
    assert conditions_of(world.evaluate(auto))["Degraded"]["status"] == "False"


def test_a_migration_without_room_is_a_deadlock(world: Any, embedder: Write) -> None:
    old = world.converge(embedder()).plan.target
    edited = embedder(generation=2, models={"embedding": "Qwen/Qwen3-Embedding-0.6B"})
    new = world.step(edited).plan.target
    world.pod(old, "old")
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    world.pod(new, "new", node=None, limits=LIMITS, **unplaced(message))
    said = conditions_of(world.evaluate(edited))
    assert said["Ready"]["reason"] == "RolloutDeadlock"
    assert said["Available"]["status"] == "True"


def autoscaled(world: Any, **condition: str) -> Manifest:
    hpa = world.child("HorizontalPodAutoscaler", "search")
    hpa["status"] = {"conditions": [{"type": "ScalingActive"} | condition]}
    return hpa


def test_an_hpa_without_metrics_says_so(world: Any, embedder: Write) -> None:
    manifest = embedder(autoscaling={"mode": "HPA", "maxReplicas": 4})
    world.converge(manifest)
    autoscaled(world, status="False", reason="FailedGetPodsMetric", message="no metrics returned")
    said = conditions_of(world.evaluate(manifest))
    assert said["AutoscalerReady"]["reason"] == "MetricsUnavailable"
    assert said["Degraded"]["reason"] == "MetricsUnavailable"
    assert said["Ready"]["status"] == "True"
    autoscaled(world, status="True", reason="ValidMetricFound")
    assert conditions_of(world.evaluate(manifest))["AutoscalerReady"]["status"] == "True"


def test_an_hpa_in_a_cluster_where_nobody_answers_metrics_says_so(
    world: Any, embedder: Write
) -> None:
    known = msgspec.structs.replace(world.platform.capabilities, custom_metrics=False)
    world.platform = msgspec.structs.replace(world.platform, capabilities=known)
    manifest = embedder(autoscaling={"mode": "HPA", "maxReplicas": 4})
    world.converge(manifest)
    said = conditions_of(world.evaluate(manifest))["AutoscalerReady"]
    assert "custom.metrics.k8s.io" in said["message"]


def test_pods_that_are_still_coming_are_not_blamed_on_the_hpa(world: Any, embedder: Write) -> None:
    manifest = embedder(autoscaling={"mode": "HPA", "maxReplicas": 4})
    world.step(manifest)
    down(world)
    autoscaled(world, status="False", reason="FailedGetPodsMetric", message="no pods")
    assert conditions_of(world.evaluate(manifest))["Degraded"]["status"] == "False"


@pytest.mark.parametrize(
    "spec",
    [
        {"monitoring": {"serviceMonitor": "Enabled"}},
        {"monitoring": {"prometheusRule": "Enabled"}},
        {"route": {"parentRefs": [{"name": "public"}]}},
        {"autoscaling": {"mode": "KEDA", "maxReplicas": 2, "prometheusAddress": "http://p:9090"}},
    ],
)
def test_a_kind_asked_for_and_not_installed_is_told_and_not_applied(
    world: Any, embedder: Write, spec: dict[str, Any]
) -> None:
    bare = type(world.platform.capabilities)(custom_metrics=True)
    world.platform = msgspec.structs.replace(world.platform, capabilities=bare)
    world.converge(embedder(**spec))
    optional = {"ServiceMonitor", "PrometheusRule", "HTTPRoute", "ScaledObject"}
    assert not optional & {kind for kind, _ in world.children}
    said = conditions_of(world.evaluate(embedder(**spec)))
    assert said["Degraded"]["reason"] == "CRDNotInstalled"
    assert said["Ready"]["status"] == "True"


def test_two_embedders_that_claim_one_route_name_each_other(world: Any, embedder: Write) -> None:
    route = {"parentRefs": [{"name": "public"}], "hostnames": ["search.example.com"]}
    manifest = embedder(route=route)
    world.converge(manifest)
    world.rivals = [
        {"metadata": {"name": "other", "namespace": "team"}, "spec": {"route": route}},
    ]
    said = conditions_of(world.evaluate(manifest))["Degraded"]
    assert said["reason"] == "RouteConflict"
    assert "team/other" in said["message"]
    world.rivals[0]["spec"]["route"] = route | {"hostnames": ["b.example.com"]}
    assert conditions_of(world.evaluate(manifest))["Degraded"]["status"] == "False"


def test_pods_with_different_vectors_behind_one_service_are_told(
    world: Any, embedder: Write
) -> None:
    track = world.converge(embedder()).plan.target
    for name, fingerprint in (("one", "aaaa"), ("two", "bbbb")):
        world.pod(track, name)
        world.reports[name] = PodReport(fingerprint=fingerprint)
    assert conditions_of(world.evaluate(embedder()))["Degraded"]["reason"] == "MixedVectors"


@pytest.mark.parametrize(
    ("code", "message", "reason"),
    [
        (403, "persistentvolumeclaims is forbidden: exceeded quota: team", "QuotaExceeded"),
        (403, "services is forbidden: User cannot patch", "Forbidden"),
        (422, "spec.template.spec.containers[0].image: Required value", "ApplyRefused"),
        (500, 'failed calling webhook "policy.example.com"', "ApplyFailed"),
        (429, "too many requests", "ApplyFailed"),
    ],
)
def test_what_the_api_server_refuses_is_told(
    world: Any, embedder: Write, code: int, message: str, reason: str
) -> None:
    world.converge(embedder())
    decision = world.decide(embedder())
    refusal = Refusal(kind="Service", name="search", code=code, message=message)
    observed = msgspec.structs.replace(world.observe(), refusals=(refusal,))
    said = conditions_of(evaluate(decision, observed))["Degraded"]
    assert said["reason"] == reason
    assert message in said["message"]


def test_what_may_not_be_seen_is_said_and_the_rest_is_unknown_and_as_it_was(
    world: Any, embedder: Write
) -> None:
    world.converge(embedder())
    before = world.evaluate(embedder())
    edited = embedder(generation=2, models={"embedding": "demo/bge-m3"}) | {"status": before}
    unseen = {"ConfigMap": "User cannot list configmaps", "Job": "User cannot list jobs"}
    observed = Observed(now=world.now, unseen=unseen)
    decision = decide(edited, world.platform, observed)
    assert (decision.objects, decision.plan) == (None, None)
    status = evaluate(decision, observed)
    said = conditions_of(status)
    assert {kind: one["status"] for kind, one in said.items()} == {
        "Ready": "Unknown",
        "Available": "Unknown",
        "Progressing": "Unknown",
        "Degraded": "True",
    }
    assert {one["reason"] for one in said.values()} == {"Forbidden"}
    assert "ConfigMap, Job" in said["Ready"]["message"]
    assert "User cannot list configmaps" in said["Ready"]["message"]
    assert status["observedGeneration"] == 2
    rest = before.keys() - {"conditions", "observedGeneration"}
    assert status.keys() == before.keys()
    assert {key: status[key] for key in rest} == {key: before[key] for key in rest}


def test_a_rollout_that_stands_still_unexplained_gives_the_facts(
    world: Any, embedder: Write
) -> None:
    track = world.step(embedder()).plan.target
    down(world)
    stuck = {
        "type": "Progressing",
        "status": "False",
        "reason": "ProgressDeadlineExceeded",
        "message": "has timed out progressing",
    }
    world.child("Deployment", f"search-{track}")["status"]["conditions"] = [stuck]
    world.pod(track, phase="Running")
    said = conditions_of(world.evaluate(embedder()))
    assert said["Ready"]["reason"] == "Unknown"
    assert "pod-1 is Running" in said["Ready"]["message"]
    assert said["Progressing"]["status"] == "False"


def test_a_transition_time_moves_only_with_the_status(world: Any, embedder: Write) -> None:
    track = world.step(embedder()).plan.target
    down(world)
    first = conditions_of(world.evaluate(embedder()))["Ready"]
    world.now += timedelta(seconds=30)
    world.pod(track, **told("ModelGated"))
    second = conditions_of(world.evaluate(embedder()))["Ready"]
    assert second["reason"] != first["reason"]
    assert second["lastTransitionTime"] == first["lastTransitionTime"]
    world.pods.clear()
    world.settle()
    third = conditions_of(world.evaluate(embedder()))["Ready"]
    assert third["lastTransitionTime"] != first["lastTransitionTime"]


def test_a_status_that_says_nothing_new_is_equal(world: Any, embedder: Write) -> None:
    world.converge(embedder())
    first = world.evaluate(embedder())
    world.now += timedelta(hours=1)
    assert world.evaluate(embedder()) == first


def test_more_pods_on_their_way_do_not_make_it_unready(world: Any, embedder: Write) -> None:
    track = world.converge(embedder()).plan.target
    live = world.child("Deployment", f"search-{track}")
    live["spec"]["replicas"] = 4
    live["status"] |= {"replicas": 4, "updatedReplicas": 4}
    said = conditions_of(world.evaluate(embedder()))
    assert said["Ready"]["status"] == "True"
    assert said["Progressing"]["status"] == "True"


def test_scaled_to_zero_is_ready_and_says_so(world: Any, embedder: Write) -> None:
    track = world.converge(embedder(replicas=0)).plan.target
    assert world.child("Deployment", f"search-{track}")["spec"]["replicas"] == 0
    said = conditions_of(world.evaluate(embedder(replicas=0)))
    assert said["Ready"]["status"] == "True"
    assert said["Available"]["reason"] == "ScaledToZero"


def test_paused_says_so(world: Any, embedder: Write) -> None:
    world.converge(embedder())
    said = conditions_of(world.evaluate(embedder(generation=2, paused=True)))
    assert said["Progressing"]["reason"] == "Paused"
    assert said["Ready"]["status"] == "True"


def test_a_waiting_migration_says_what_to_write(world: Any, embedder: Write) -> None:
    manual = {"promotion": "Manual"}
    world.converge(embedder(rollout=manual))
    edited = embedder(generation=2, models={"embedding": "demo/bge-m3"}, rollout=manual)
    new = world.converge(edited).plan.target
    status = world.evaluate(edited)
    assert f"set spec.rollout.promote to {new}" in conditions_of(status)["Progressing"]["message"]
    assert conditions_of(status)["Progressing"]["reason"] == "WaitingForPromotion"
    assert conditions_of(status)["Ready"]["status"] == "True", "nobody is to be called for that"
    roles = {track["fingerprint"]: track["role"] for track in status["tracks"]}
    assert roles[new] == "Next"
    lost = embedder(
        generation=3, models={"embedding": "demo/bge-m3"}, rollout=manual | {"promote": "bbbbbbbb"}
    )
    assert conditions_of(world.evaluate(lost))["Degraded"]["reason"] == "PromoteUnknown"


def test_the_status_has_what_clients_and_autoscalers_need(world: Any, embedder: Write) -> None:
    track = world.converge(embedder(replicas=2)).plan.target
    world.pod(track)
    world.reports["pod-1"] = PodReport(fingerprint="cafe", queue_depth=7)
    status = world.evaluate(embedder(generation=3, replicas=2))
    assert status["endpoint"] == "http://search.team.svc.cluster.local:8000"
    assert status["queueDepth"] == 7
    assert status["vectorFingerprint"] == "cafe"
    assert status["observedGeneration"] == 3
    assert (status["replicas"], status["readyReplicas"]) == (2, 2)
    selector = dict(pair.split("=") for pair in status["selector"].split(","))
    pods = world.child("Deployment", f"search-{track}")["spec"]["template"]["metadata"]["labels"]
    assert selector.items() <= pods.items()


def test_the_download_of_a_prewarmed_cache_is_told(world: Any, embedder: Write) -> None:
    cache = {"type": "PVC", "accessMode": "ReadWriteMany", "prewarm": True}
    manifest = embedder(cache=cache)
    track = world.step(manifest).plan.target
    assert world.deployments() == {}
    assert conditions_of(world.evaluate(manifest))["ModelCached"]["reason"] == "Downloading"
    world.pod(track, "warm", component="prewarm", **told("ModelGated"))
    assert conditions_of(world.evaluate(manifest))["ModelCached"]["reason"] == "ModelGated"
    world.pods.clear()
    world.converge(manifest)
    assert conditions_of(world.evaluate(manifest))["ModelCached"]["status"] == "True"
    assert len(world.deployments()) == 1


def test_a_download_that_was_given_up_is_begun_anew(world: Any, embedder: Write) -> None:
    manifest = embedder(cache={"type": "PVC", "prewarm": True})
    world.step(manifest)
    ((key, job),) = (item for item in world.children.items() if item[0][0] == "Job")
    failed = {"type": "Failed", "status": "True", "lastTransitionTime": world.now.isoformat()}
    job["status"] = {"conditions": [failed]}
    world.step(manifest)
    assert key in world.children
    world.now += timedelta(minutes=5)
    world.step(manifest)
    assert key not in world.children
    world.step(manifest)
    assert "status" not in world.child(*key)
    assert world.deployments() == {}


def test_a_pod_that_has_ended_and_was_replaced_is_no_fault(world: Any, embedder: Write) -> None:
    track = world.converge(embedder()).plan.target
    end = {"terminated": {"exitCode": 137, "reason": "Error"}}
    world.pod(track, phase="Failed", reason="Evicted", containerStatuses=[{"state": end}])
    status = world.evaluate(embedder())
    assert conditions_of(status)["Degraded"]["status"] == "False"
    assert "lastFailure" not in status


def test_a_download_that_failed_once_is_no_fault_when_it_is_done(
    world: Any, embedder: Write
) -> None:
    manifest = embedder(cache={"type": "PVC", "prewarm": True})
    track = world.step(manifest).plan.target
    world.pod(track, "warm", component="prewarm", phase="Failed", **told("ModelDownloadFailed"))
    degraded = conditions_of(world.evaluate(manifest))["Degraded"]
    assert degraded["reason"] == "ModelDownloadFailed"
    world.converge(manifest)
    assert conditions_of(world.evaluate(manifest))["Degraded"]["status"] == "False"


def test_every_reason_has_advice() -> None:
    assert set(ADVICE) == set(Reason)
