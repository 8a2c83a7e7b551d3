"""The children: what each must hold, whatever the Embedder says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.resources.merge import merge
from smart_embedder_operator.spec import InvalidSpec, parse

Write = Callable[..., Manifest]


def built(world: Any, manifest: Manifest) -> dict[tuple[str, str], Manifest]:
    decision = world.converge(manifest)
    return {(item["kind"], item["metadata"]["name"]): item for item in decision.objects}


def pod_of(objects: dict[tuple[str, str], Manifest]) -> Manifest:
    spec: Manifest = next(
        item["spec"]["template"]["spec"]
        for (kind, _), item in objects.items()
        if kind == "Deployment"
    )
    return spec


def environment(pod: Manifest) -> dict[str, Any]:
    return {
        one["name"]: one.get("value", one.get("valueFrom")) for one in pod["containers"][0]["env"]
    }


def config(objects: dict[tuple[str, str], Manifest]) -> dict[str, str]:
    data: dict[str, str] = next(
        item["data"] for (kind, _), item in objects.items() if kind == "ConfigMap"
    )
    return data


FRAGMENTS = yaml.safe_load((Path(__file__).parent / "specs.yaml").read_text())["fragments"]


def laid_over(fragments: list[dict[str, Any]]) -> dict[str, Any]:
    """One spec of several fragments; a later one replaces an earlier one's field."""
    return {key: value for fragment in fragments for key, value in fragment.items()}


@settings(max_examples=60, deadline=None)
@given(spec=st.lists(st.sampled_from(FRAGMENTS), max_size=7).map(laid_over))
def test_any_valid_spec_builds_sound_objects(
    new_world: Callable[[], Any], embedder: Write, spec: dict[str, Any]
) -> None:
    manifest = embedder(**spec)
    manifest["metadata"]["name"] = "s" * 40
    try:
        assume(not parse(manifest).spec.paused)
    except InvalidSpec:
        assume(False)
    world = new_world()
    first = world.decide(manifest)
    assert first.objects == world.decide(manifest).objects
    for item in first.objects:
        assert len(item["metadata"]["name"]) <= 63
        assert json.loads(json.dumps(item)) == item
        assert item["metadata"]["labels"]["smart-embedder.io/embedder"] == "s" * 40
        if item["kind"] == "Deployment":
            wanted = item["spec"]["selector"]["matchLabels"]
            assert wanted.items() <= item["spec"]["template"]["metadata"]["labels"].items()
            assert "replicas" not in item["spec"]
        if item["kind"] == "ConfigMap":
            assert all(isinstance(value, str) for value in item["data"].values())


def test_the_grace_period_is_delay_and_drain_and_five_seconds(world: Any, embedder: Write) -> None:
    objects = built(world, embedder(serving={"drainSeconds": 60}))
    assert pod_of(objects)["terminationGracePeriodSeconds"] == 5 + 60 + 5
    assert (config(objects)["DRAIN_DELAY"], config(objects)["DRAIN_SECONDS"]) == ("5", "60")


def test_only_what_is_set_is_told_to_the_service(world: Any, embedder: Write) -> None:
    told = config(built(world, embedder()))
    assert "MAX_QUEUE_SIZE" not in told
    assert told["RERANKER_MODEL"] == "none"
    assert config(built(world, embedder(serving={"queueSize": 7})))["MAX_QUEUE_SIZE"] == "7"


def test_both_address_families_are_served_where_there_are_both(world: Any, embedder: Write) -> None:
    assert "HOST" not in config(built(world, embedder()))
    dual = embedder(generation=2, service={"ipFamilyPolicy": "PreferDualStack"})
    assert config(built(world, dual)).get("HOST") == "::"
    world.platform = msgspec.structs.replace(world.platform, ipv6=True)
    assert config(built(world, embedder(generation=3, env=[{"name": "A"}])))["HOST"] == "::"


def test_bigger_models_may_take_longer_to_start(world: Any, embedder: Write) -> None:
    def patience(model: str) -> int:
        probe = pod_of(built(world, embedder(models={"reranker": model})))["containers"][0]
        seconds: int = probe["startupProbe"]["failureThreshold"]
        return seconds

    assert patience("demo/x") < patience("Qwen/Qwen3-Reranker-4B") < patience("Q/Qwen3-8B")


def test_the_pods_are_restricted_and_know_no_token(world: Any, embedder: Write) -> None:
    pod = pod_of(built(world, embedder()))
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False


def test_open_shift_gives_the_user_ids_itself(world: Any, embedder: Write) -> None:
    known = msgspec.structs.replace(world.platform.capabilities, open_shift=True)
    world.platform = msgspec.structs.replace(world.platform, capabilities=known)
    context = pod_of(built(world, embedder()))["securityContext"]
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(context)


def test_secrets_are_only_referred_to(world: Any, embedder: Write) -> None:
    objects = built(
        world,
        embedder(
            auth={"secretRef": {"name": "callers"}},
            hub={"tokenSecretRef": {"name": "hub", "key": "hf"}},
        ),
    )
    told = environment(pod_of(objects))
    assert told["API_TOKEN"] == {"secretKeyRef": {"name": "callers", "key": "token"}}
    assert told["HF_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "hf"}}
    assert "Secret" not in {kind for kind, _ in objects}


def test_a_variable_of_the_person_wins(world: Any, embedder: Write) -> None:
    env = [{"name": "NODE_NAME", "value": "mine"}, {"name": "MORE", "value": "1"}]
    told = environment(pod_of(built(world, embedder(env=env))))
    assert (told["NODE_NAME"], told["MORE"]) == ("mine", "1")
    pod = pod_of(built(world, embedder(env=env)))
    assert {"name": "NODE_NAME", "value": "mine"} in pod["containers"][0]["env"]


def test_a_cluster_without_zones_can_still_spread(world: Any, embedder: Write) -> None:
    rules = {
        rule["topologyKey"]: rule["whenUnsatisfiable"]
        for rule in pod_of(built(world, embedder(availability={"spread": "Required"})))[
            "topologySpreadConstraints"
        ]
    }
    assert rules == {
        "kubernetes.io/hostname": "DoNotSchedule",
        "topology.kubernetes.io/zone": "ScheduleAnyway",
    }


def test_a_gpu_profile_brings_its_image_device_and_place(world: Any, embedder: Write) -> None:
    objects = built(world, embedder(hardware={"profile": "nvidia"}))
    (container,) = pod_of(objects)["containers"]
    assert container["image"].endswith("-gpu")
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert config(objects)["MODEL_DEVICE"] == "cuda"
    assert config(objects)["DTYPE"] == "bfloat16"
    assert pod_of(objects)["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_raw_resources_with_a_gpu_mean_cuda(world: Any, embedder: Write) -> None:
    raw = {"resources": {"limits": {"nvidia.com/gpu": 1}}, "runtimeClassName": "nvidia"}
    objects = built(world, embedder(hardware=raw))
    assert config(objects)["MODEL_DEVICE"] == "cuda"
    assert pod_of(objects)["runtimeClassName"] == "nvidia"


@pytest.mark.parametrize(("amount", "device"), [(0, "cpu"), ("0", "cpu"), ("1", "cuda")])
def test_only_a_gpu_that_is_there_means_cuda(
    world: Any, embedder: Write, amount: int | str, device: str
) -> None:
    raw = {"resources": {"limits": {"nvidia.com/gpu": amount}}}
    assert config(built(world, embedder(hardware=raw)))["MODEL_DEVICE"] == device


def test_a_change_of_settings_changes_the_pods(world: Any, embedder: Write) -> None:
    def mark(**spec: Any) -> str:
        decision = world.converge(embedder(**spec))
        (deployment,) = (item for item in decision.objects if item["kind"] == "Deployment")
        annotations: dict[str, str] = deployment["spec"]["template"]["metadata"]["annotations"]
        return annotations["smart-embedder.io/config"]

    assert mark() == mark()
    assert mark() != mark(serving={"queueSize": 3})


@pytest.mark.parametrize(
    ("spec", "number"),
    [
        ({}, {}),
        ({"replicas": 3}, {"": 3}),
        ({"autoscaling": {"mode": "HPA", "maxReplicas": 4}}, {}),
        ({"autoscaling": {"mode": "External"}}, {}),
    ],
)
def test_a_number_that_somebody_else_owns_is_never_said(
    world: Any, embedder: Write, spec: dict[str, Any], number: dict[str, int]
) -> None:
    decision = world.step(embedder(**spec))
    name = f"search-{decision.plan.target}"
    assert decision.replicas == {name + key: value for key, value in number.items()}


def test_switching_autoscaling_keeps_the_number_of_pods(world: Any, embedder: Write) -> None:
    scaled = {"mode": "HPA", "maxReplicas": 8}
    world.converge(embedder(replicas=5))
    for spec in ({"autoscaling": scaled}, {}, {"autoscaling": scaled}):
        world.converge(embedder(**spec))
        (deployment,) = world.deployments().values()
        assert deployment["spec"]["replicas"] == 5


@pytest.mark.parametrize(
    ("scaling", "metric", "value"),
    [
        ({}, "smart_embedder_queue_depth", "8"),
        ({"excludeBulk": True}, "smart_embedder_interactive_queue_depth", "8"),
        ({"targetDrainSeconds": 3}, "smart_embedder_estimated_drain_seconds", "3"),
    ],
)
def test_the_hpa_measures_what_was_asked_for(
    world: Any, embedder: Write, scaling: dict[str, Any], metric: str, value: str
) -> None:
    objects = built(world, embedder(autoscaling={"mode": "HPA", "maxReplicas": 4} | scaling))
    (pods,) = objects["HorizontalPodAutoscaler", "search"]["spec"]["metrics"]
    assert pods["pods"]["metric"]["name"] == metric
    assert pods["pods"]["target"] == {"type": "AverageValue", "averageValue": value}


def test_there_is_one_scaler_at_a_time(world: Any, embedder: Write) -> None:
    keda = {"mode": "KEDA", "maxReplicas": 4, "prometheusAddress": "http://p:9090"}
    kinds = {kind for kind, _ in built(world, embedder(autoscaling=keda))}
    assert "ScaledObject" in kinds
    assert "HorizontalPodAutoscaler" not in kinds


def test_a_budget_never_blocks_a_drain(world: Any, embedder: Write) -> None:
    assert ("PodDisruptionBudget", "search") not in built(world, embedder())
    budget = built(world, embedder(replicas=2))["PodDisruptionBudget", "search"]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert "minAvailable" not in budget


def test_the_network_lets_each_in_at_its_own_door(world: Any, embedder: Write) -> None:
    web = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "web"}}}
    policy = {"allowFrom": [web], "metricsFrom": [web]}
    objects = built(world, embedder(networkPolicy=policy))
    api, metrics = objects["NetworkPolicy", "search"]["spec"]["ingress"]
    assert (api["ports"][0]["port"], api["from"]) == (8000, [web])
    operator = {"matchLabels": {"kubernetes.io/metadata.name": "smart-embedder"}}
    assert metrics["ports"][0]["port"] == 9090
    assert metrics["from"] == [{"namespaceSelector": operator}, web]


@pytest.mark.parametrize(
    ("spec", "ports"),
    [
        ({}, {53, 80, 443}),
        ({"hub": {"offline": True}}, {53}),
        ({"networkPolicy": {"egress": "None"}}, {53}),
        ({"hub": {"endpoint": "http://mirror:8081"}}, {53, 80, 443, 8081}),
        (
            {"networkPolicy": {"egress": "None"}, "tracing": {"endpoint": "http://c:4317"}},
            {53, 4317},
        ),
    ],
)
def test_the_network_lets_out_only_what_is_needed(
    world: Any, embedder: Write, spec: dict[str, Any], ports: set[int]
) -> None:
    rules = built(world, embedder(**spec))["NetworkPolicy", "search"]["spec"]["egress"]
    assert {port["port"] for rule in rules for port in rule["ports"]} == ports


def test_the_service_monitor_finds_the_metrics_port(world: Any, embedder: Write) -> None:
    objects = built(world, embedder())
    monitor = objects["ServiceMonitor", "search"]["spec"]
    service = objects["Service", "search-metrics"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    labels = {rule["targetLabel"] for rule in monitor["endpoints"][0]["relabelings"]}
    assert labels == {"embedder", "track"}
    serving = objects["Service", "search"]
    assert not monitor["selector"]["matchLabels"].items() <= serving["metadata"]["labels"].items()


def test_a_retained_cache_has_no_owner(world: Any, embedder: Write) -> None:
    objects = built(world, embedder(cache={"type": "PVC", "retain": True}))
    (claim,) = (item for (kind, _), item in objects.items() if kind == "PersistentVolumeClaim")
    assert "ownerReferences" not in claim["metadata"]
    assert all(
        "ownerReferences" in item["metadata"] for item in objects.values() if item is not claim
    )


def test_the_download_runs_where_the_pods_will_but_needs_no_gpu(
    world: Any, embedder: Write
) -> None:
    cache = {"type": "PVC", "prewarm": True}
    objects = built(world, embedder(hardware={"profile": "nvidia"}, cache=cache))
    (job,) = (item for (kind, _), item in objects.items() if kind == "Job")
    pod = job["spec"]["template"]["spec"]
    assert pod["tolerations"] == pod_of(objects)["tolerations"]
    assert "nvidia.com/gpu" not in str(pod["containers"][0]["resources"])
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert not objects["Service", "search"]["spec"]["selector"].items() <= labels.items()


def test_what_is_not_on_the_hub_is_not_downloaded(world: Any, embedder: Write) -> None:
    cache = {"type": "PVC", "prewarm": True}
    models = {"embedding": "/models/bge-m3", "reranker": "demo/bge-reranker-v2-m3"}
    assert "Job" not in {kind for kind, _ in built(world, embedder(models=models, cache=cache))}
    models["dense"] = "Qwen/Qwen3-Embedding-0.6B@v1"
    objects = built(world, embedder(models=models, cache=cache))
    (job,) = (item for (kind, _), item in objects.items() if kind == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    download = ["models", "download", "Qwen/Qwen3-Embedding-0.6B", "--revision", "v1"]
    assert container["args"] == download


def test_the_pod_template_is_merged_as_kubectl_would(world: Any, embedder: Write) -> None:
    patch = {
        "metadata": {"labels": {"team": "a", "smart-embedder.io/track": "mine"}},
        "spec": {
            "containers": [
                {
                    "name": "embedder",
                    "env": [{"name": "NODE_NAME", "value": "x", "valueFrom": None}],
                    "envFrom": [{"secretRef": {"name": "more"}}],
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp", "subPath": "a"}],
                },
                {"name": "sidecar", "image": "sidecar:1"},
            ],
            "terminationGracePeriodSeconds": 99,
        },
    }
    decision = world.converge(embedder(podTemplate=patch))
    (deployment,) = (item for item in decision.objects if item["kind"] == "Deployment")
    template = deployment["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "a"
    assert template["metadata"]["labels"]["smart-embedder.io/track"] == decision.plan.target
    ours, theirs = template["spec"]["containers"]
    assert theirs["name"] == "sidecar"
    assert ours["envFrom"][-1] == {"secretRef": {"name": "more"}}
    assert "configMapRef" in ours["envFrom"][0]
    assert [mount["mountPath"] for mount in ours["volumeMounts"]] == ["/models", "/tmp"]
    assert ours["volumeMounts"][1]["subPath"] == "a"
    assert template["spec"]["terminationGracePeriodSeconds"] == 99


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"containers": None}, "containers: the serving container embedder must stay"),
        ({"containers": {}}, "containers: the serving container embedder must stay"),
        ({"containers": 1}, "containers: the serving container embedder must stay"),
        (
            {"containers": [{"name": "embedder", "$patch": "delete"}]},
            "containers: the serving container embedder must stay",
        ),
        (
            {"$patch": "replace", "containers": [{"name": "mine"}]},
            "containers: the serving container embedder must stay",
        ),
        ({"containers": [{"image": "a:1"}]}, "containers: every entry needs its name"),
        ({"containers": ["mine"]}, "containers: every entry needs its name"),
        ({"volumes": [1]}, "volumes: every entry needs its name"),
    ],
)
def test_a_pod_template_that_cannot_be_merged_is_told(
    world: Any, embedder: Write, spec: Manifest, words: str
) -> None:
    status = world.evaluate(embedder(podTemplate={"spec": spec}))
    ready = next(one for one in status["conditions"] if one["type"] == "Ready")
    assert ready["reason"] == "InvalidSpec"
    assert f"spec.podTemplate.spec.{words}" in ready["message"]


@pytest.mark.parametrize(
    ("current", "patch", "merged"),
    [
        ({"a": 1, "b": 2}, {"b": None}, {"a": 1}),
        ({"a": {"x": 1}}, {"a": {"$patch": "replace", "y": 2}}, {"a": {"y": 2}}),
        ({"tolerations": [{"key": "a"}]}, {"tolerations": []}, {"tolerations": []}),
        (
            {"volumes": [{"name": "a"}, {"name": "b"}]},
            {"volumes": [{"name": "a", "$patch": "delete"}, {"name": "c"}]},
            {"volumes": [{"name": "b"}, {"name": "c"}]},
        ),
    ],
)
def test_merge_follows_the_rules_of_kubernetes(
    current: Manifest, patch: Manifest, merged: Manifest
) -> None:
    assert merge(current, patch) == merged
