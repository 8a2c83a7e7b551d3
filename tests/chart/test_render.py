"""What the chart installs, for the values people choose."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]

MATRIX: dict[str, Manifest] = {
    "defaults": {},
    "two replicas": {"replicas": 2, "priorityClassName": "high"},
    "some namespaces": {"watchNamespaces": ["a", "b"]},
    "some namespaces, metrics API asked for": {
        "watchNamespaces": ["a"],
        "metricsApi.enabled": True,
    },
    "no metrics API": {"metricsApi.enabled": False},
    "a certificate of one's own": {"metricsApi.existingSecret": "tls"},
    "monitored": {
        "metrics.serviceMonitor.enabled": True,
        "metrics.prometheusRule.enabled": True,
        "metrics.prometheusRule.alertLabels": {"team": "search"},
        "dashboards.enabled": True,
    },
    "locked down": {"networkPolicy.enabled": True, "networkPolicy.egressCidrs": ["10.0.0.0/8"]},
    "air-gapped": {
        "global.imageRegistry": "registry.internal",
        "global.imagePullSecrets": [{"name": "pull"}],
        "image.digest": "sha256:" + "a" * 64,
    },
    "OpenShift": {"podSecurityContext.runAsUser": None, "podSecurityContext.runAsGroup": None},
    "IPv6": {
        "metricsApi.service.ipFamilies": ["IPv6"],
        "metricsApi.service.ipFamilyPolicy": "SingleStack",
    },
    "everything extra": {
        "extraArgs": ["--help"],
        "extraEnv": [{"name": "A", "value": "b"}],
        "extraEnvFrom": [{"configMapRef": {"name": "c"}}],
        "extraVolumes": [{"name": "v", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "v", "mountPath": "/v"}],
        "extraContainers": [{"name": "side", "image": "side:1"}],
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "{{ .Release.Name }}-x"},
            }
        ],
        "podLabels": {"l": "1"},
        "podAnnotations": {"a": "1"},
        "commonLabels": {"team": "search"},
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "tolerations": [{"operator": "Exists"}],
        "runtimeClassName": "gvisor",
    },
    "nothing but the operator": {
        "crds.install": False,
        "rbac.create": False,
        "serviceAccount.create": False,
        "serviceAccount.name": "mine",
    },
}


@pytest.fixture(scope="module", params=MATRIX.values(), ids=list(MATRIX))
def rendered(request: pytest.FixtureRequest, render: Render) -> list[Manifest]:
    """The chart for each set of values."""
    return render(request.param)


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Those of one kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pods(manifests: list[Manifest]) -> Iterator[Manifest]:
    """Every pod spec."""
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield manifest["spec"]
        elif manifest["kind"] in ("Deployment", "Job"):
            yield manifest["spec"]["template"]["spec"]


def operator(manifests: list[Manifest]) -> Manifest:
    """The operator's container."""
    [deployment] = of_kind(manifests, "Deployment")
    container: Manifest = deployment["spec"]["template"]["spec"]["containers"][0]
    return container


def environment(manifests: list[Manifest]) -> dict[str, str]:
    """What the operator is told."""
    return {each["name"]: each.get("value", "") for each in operator(manifests)["env"]}


def test_every_object_names_its_owner(rendered: list[Manifest]) -> None:
    ours = [each for each in rendered if not each["metadata"]["name"].endswith("-x")]
    assert all(each["metadata"]["labels"]["app.kubernetes.io/instance"] == "se" for each in ours)


def test_every_pod_meets_the_restricted_standard(rendered: list[Manifest]) -> None:
    for pod in pods(rendered):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        for container in pod["containers"]:
            if container["name"] == "side":  # what a user adds is the user's
                continue
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"]["drop"] == ["ALL"]
            assert context["readOnlyRootFilesystem"] is True
        assert not any("hostPath" in volume for volume in pod.get("volumes", ()))


def test_no_role_holds_a_wildcard_a_shell_or_logs(rendered: list[Manifest]) -> None:
    roles = of_kind(rendered, "ClusterRole") + of_kind(rendered, "Role")
    for rule in (rule for role in roles for rule in role["rules"]):
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
        assert not {"pods/exec", "pods/log", "pods/attach"} & set(rule["resources"])
        if "secrets" in rule["resources"] and rule["verbs"] != ["create"]:
            assert rule["resourceNames"] == ["se-smart-embedder-metrics-api"]


def test_selectors_match_the_pods_and_nothing_that_changes(rendered: list[Manifest]) -> None:
    [deployment] = of_kind(rendered, "Deployment")
    chosen = deployment["spec"]["selector"]["matchLabels"]
    assert chosen.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert not {"helm.sh/chart", "app.kubernetes.io/version"} & chosen.keys()


def test_cluster_wide_the_operator_has_cluster_rights_and_the_metrics_api(render: Render) -> None:
    manifests = render()
    names = {each["metadata"]["name"] for each in of_kind(manifests, "ClusterRole")}

    assert {"se-smart-embedder", "se-smart-embedder-metrics-api"} <= names
    assert environment(manifests)["SMART_EMBEDDER_METRICS_API"] == "true"


def test_confined_to_namespaces_it_has_roles_there_and_no_cluster_rights(render: Render) -> None:
    manifests = render({"watchNamespaces": ["a", "b"], "rbac.aggregateClusterRoles": False})

    assert of_kind(manifests, "ClusterRole") == []
    assert of_kind(manifests, "ClusterRoleBinding") == []
    where = {each["metadata"]["namespace"] for each in of_kind(manifests, "Role")}
    assert where == {"a", "b", "se"}
    assert environment(manifests)["SMART_EMBEDDER_WATCH_NAMESPACES"] == "a,b"
    assert environment(manifests)["SMART_EMBEDDER_METRICS_API"] == "false"


def test_the_operator_owns_the_apiservice_so_the_chart_makes_none(rendered: list[Manifest]) -> None:
    assert of_kind(rendered, "APIService") == []


def test_the_crd_outlives_an_uninstall_unless_told_otherwise(render: Render) -> None:
    [kept] = of_kind(render(), "CustomResourceDefinition")
    [dropped] = of_kind(render({"crds.keep": False}), "CustomResourceDefinition")

    assert kept["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert "helm.sh/resource-policy" not in dropped["metadata"].get("annotations", {})


def test_a_private_registry_is_named_once_for_every_image(render: Render) -> None:
    manifests = render({"global.imageRegistry": "registry.internal"})
    images = [container["image"] for pod in pods(manifests) for container in pod["containers"]]
    profiles = of_kind(manifests, "ConfigMap")[0]["data"]["profiles.yaml"]

    assert all(image.startswith("registry.internal/") for image in images)
    assert environment(manifests)["SMART_EMBEDDER_DEFAULT_IMAGE"].startswith("registry.internal/")
    assert "ghcr.io" not in profiles


def test_profiles_on_a_gpu_run_the_gpu_image_and_others_do_not(render: Render) -> None:
    [profiles] = [
        each["data"]["profiles.yaml"]
        for each in of_kind(render(), "ConfigMap")
        if "profiles.yaml" in each["data"]
    ]
    import yaml  # noqa: PLC0415 - only this test reads the inner document

    read = yaml.safe_load(profiles)
    assert read["nvidia"]["image"].endswith("-gpu")
    assert "image" not in read["cpu"]
    assert read.keys() >= {"cpu", "nvidia", "nvidia-l4", "nvidia-a100", "nvidia-h100", "nvidia-mig"}


def test_one_replica_has_no_disruption_budget_and_two_have_one_that_never_blocks(
    render: Render,
) -> None:
    [budget] = of_kind(render({"replicas": 2}), "PodDisruptionBudget")

    assert of_kind(render(), "PodDisruptionBudget") == []
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_alerts_link_to_their_section_of_the_runbook(render: Render) -> None:
    [rule] = of_kind(render(MATRIX["monitored"]), "PrometheusRule")
    alerts = [
        each for group in rule["spec"]["groups"] for each in group["rules"] if "alert" in each
    ]

    assert alerts
    for alert in alerts:
        assert alert["annotations"]["runbook_url"].endswith("#" + alert["alert"].lower())
        assert alert["labels"]["team"] == "search"


def test_dashboards_carry_the_label_and_folder_that_the_sidecar_looks_for(render: Render) -> None:
    boards = [
        each
        for each in of_kind(render({"dashboards.enabled": True}), "ConfigMap")
        if "-dashboard-" in each["metadata"]["name"]
    ]

    assert len(boards) == 3
    for board in boards:
        assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert board["metadata"]["annotations"]["grafana_folder"] == "Smart Embedder"


def test_editors_may_write_embedders_and_viewers_only_read(render: Render) -> None:
    roles = {each["metadata"]["name"]: each for each in of_kind(render(), "ClusterRole")}
    view, edit = roles["se-smart-embedder-view"], roles["se-smart-embedder-edit"]

    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-admin"] == "true"
    assert set(view["rules"][0]["verbs"]) == {"get", "list", "watch"}
    assert "create" in edit["rules"][0]["verbs"]


def test_rendering_is_the_same_twice(render: Render) -> None:
    assert render() == render()
