"""What the chart installs, for the values people choose."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from smart_embedder_operator.settings import load_settings

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]

CHART = Path(__file__).parents[2] / "charts/smart-embedder"
DIGEST = "sha256:" + "a" * 64


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
    told = environment(manifests)

    assert all(image.startswith("registry.internal/") for image in images)
    assert told["SMART_EMBEDDER_DEFAULT_IMAGE"].startswith("registry.internal/")
    assert told["SMART_EMBEDDER_GPU_IMAGE"] == told["SMART_EMBEDDER_DEFAULT_IMAGE"] + "-gpu"
    assert "ghcr.io" not in str(manifests)


def test_its_pull_secrets_are_for_every_pod_the_serving_ones_too(render: Render) -> None:
    secrets = [{"name": "one"}, {"name": "two"}]
    manifests = render({"global.imagePullSecrets": secrets})

    assert [pod["imagePullSecrets"] for pod in pods(manifests)] == [secrets, secrets]
    told = load_settings({name: text for name, text in environment(manifests).items() if text})
    assert told.pull_secrets == ("one", "two")


def test_a_digest_wins_over_the_tag(render: Render) -> None:
    manifests = render(
        {"image.digest": DIGEST, "service.image.digest": DIGEST, "service.image.gpuDigest": DIGEST}
    )
    told = environment(manifests)

    assert operator(manifests)["image"] == f"ghcr.io/smart-embedder/operator@{DIGEST}"
    for variable in ("SMART_EMBEDDER_DEFAULT_IMAGE", "SMART_EMBEDDER_GPU_IMAGE"):
        assert told[variable] == f"ghcr.io/smart-embedder/service@{DIGEST}"


def profiles(manifests: list[Manifest]) -> Manifest:
    """The hardware profiles as the operator reads them."""
    [text] = [
        each["data"]["profiles.yaml"]
        for each in of_kind(manifests, "ConfigMap")
        if "profiles.yaml" in each["data"]
    ]
    read: Manifest = yaml.safe_load(text)
    return read


def test_profiles_are_added_replaced_and_removed_by_name(render: Render) -> None:
    usual = profiles(render())
    chosen = profiles(
        render(
            {
                "profiles": {"edge": {"nodeSelector": {"kubernetes.io/arch": "arm64"}}},
                "profiles.cpu": {"device": "cpu"},
                "defaultProfiles.nvidia-mig": None,
            }
        )
    )

    models = ("t4", "l4", "a100", "h100", "mig")
    assert usual.keys() == {"cpu", "cpu-small", "nvidia", *(f"nvidia-{model}" for model in models)}
    assert usual["nvidia-t4"]["dtype"] == "float16"  # it has no bfloat16
    assert chosen.keys() == usual.keys() - {"nvidia-mig"} | {"edge"}
    assert chosen["edge"]["nodeSelector"] == {"kubernetes.io/arch": "arm64"}


def test_open_shift_assigns_users_itself(render: Render) -> None:
    elsewhere = {"runAsUser", "runAsGroup", "fsGroup"}
    there = render(apis=("security.openshift.io/v1",))

    assert all(elsewhere <= pod["securityContext"].keys() for pod in pods(render()))
    assert not any(elsewhere & pod["securityContext"].keys() for pod in pods(there))
    assert all(pod["securityContext"]["runAsNonRoot"] for pod in pods(there))


def test_a_mixed_cluster_says_where_by_a_node_selector(render: Render) -> None:
    chosen = {"kubernetes.io/arch": "arm64"}

    for pod in pods(render({"nodeSelector": chosen})):
        assert chosen.items() <= pod["nodeSelector"].items()


@pytest.mark.parametrize(
    ("policy", "families"),
    [
        ("SingleStack", ["IPv4"]),
        ("SingleStack", ["IPv6"]),
        ("PreferDualStack", []),
        ("RequireDualStack", ["IPv6", "IPv4"]),
    ],
)
def test_every_service_has_the_families_that_were_chosen(
    policy: str, families: list[str], render: Render
) -> None:
    services = of_kind(
        render({"network.ipFamilyPolicy": policy, "network.ipFamilies": families}), "Service"
    )

    assert len(services) == 2
    for service in services:
        assert service["spec"]["ipFamilyPolicy"] == policy
        assert service["spec"].get("ipFamilies", []) == families
    assert not any("ipFamilies" in one["spec"] for one in of_kind(render(), "Service"))


def test_a_certificate_of_cert_managers_is_mounted_and_no_secret_is_ours_to_write(
    render: Render,
) -> None:
    manifests = render({"metricsApi.existingSecret": "tls"})
    [deployment] = of_kind(manifests, "Deployment")
    folder = environment(manifests)["SMART_EMBEDDER_METRICS_API_CERT_DIR"]

    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    assert {"name": "tls", "secret": {"secretName": "tls"}} in volumes
    # The whole folder: the kubelet would not bring a renewed certificate into a subPath.
    assert {"name": "tls", "mountPath": folder, "readOnly": True} in operator(manifests)[
        "volumeMounts"
    ]
    rules = [rule for role in of_kind(manifests, "Role") for rule in role["rules"]]
    assert not any("secrets" in rule["resources"] for rule in rules)


def test_what_is_added_is_there(render: Render, choices: dict[str, Manifest]) -> None:
    manifests = render(choices["everything extra"])
    [deployment] = of_kind(manifests, "Deployment")
    template = deployment["spec"]["template"]
    container = operator(manifests)

    assert container["args"] == ["run", "--help"]
    assert {"name": "A", "value": "b"} in container["env"]
    assert container["envFrom"] == [{"configMapRef": {"name": "c"}}]
    assert {"name": "v", "mountPath": "/v"} in container["volumeMounts"]
    assert {"name": "v", "emptyDir": {}} in template["spec"]["volumes"]
    assert [one["name"] for one in template["spec"]["containers"]] == ["operator", "side"]
    assert "se-x" in [one["metadata"]["name"] for one in of_kind(manifests, "ConfigMap")]
    assert template["metadata"]["labels"].items() >= {"l": "1", "team": "search"}.items()
    assert template["metadata"]["annotations"]["a"] == "1"
    assert template["spec"]["runtimeClassName"] == "gvisor"
    assert template["spec"]["topologySpreadConstraints"][0]["topologyKey"] == "zone"
    assert template["spec"]["affinity"] == {"nodeAffinity": {}}


def test_one_replica_has_no_disruption_budget_and_two_have_one_that_never_blocks(
    render: Render,
) -> None:
    [budget] = of_kind(render({"replicas": 2}), "PodDisruptionBudget")

    assert of_kind(render(), "PodDisruptionBudget") == []
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_alerts_link_to_their_section_of_the_runbook(
    render: Render, choices: dict[str, Manifest]
) -> None:
    [rule] = of_kind(render(choices["monitored"]), "PrometheusRule")
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


def test_gitops_renders_what_helm_installs(render: Render) -> None:
    source = [path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file()]

    assert render() == render()
    assert not [text for text in source if re.search(r"\b(lookup|rand\w+|now|genCA)\b", text)]
