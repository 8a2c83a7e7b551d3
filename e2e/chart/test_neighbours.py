"""An install among others: confined to namespaces, beside another provider, under other users."""

from base64 import b64decode
from collections.abc import Iterator

import pytest

from e2e.chart import provider
from e2e.chart.installed import leftovers, operator_pod
from e2e.cluster.commands import CommandFailed
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.waiting import until
from e2e.embedder import Embedder
from e2e.release import Release, Version
from e2e.target import Target
from e2e.up import QUICKSTART
from e2e.workloads import restricted_namespace
from smart_embedder_operator.metrics_api.certificates import new_certificate, utc_now

CUSTOM_METRICS = "custom.metrics.k8s.io"


@pytest.fixture
def outside(target: Target) -> Iterator[Kubectl]:
    """A namespace that a confined install is not told of."""
    name = "outside"
    target.kubectl.apply(restricted_namespace(name))
    yield target.kubectl.inside(name)
    target.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def second(release: Release) -> Iterator[Release]:
    """A release beside the first; the CRD is the first one's."""
    second = Release(release.kubectl, "second", "second")
    second.kubectl.apply(restricted_namespace(second.namespace))
    yield second
    second.uninstall()
    second.kubectl("delete", "namespace", second.namespace, "--wait=false")


def test_an_install_confined_to_a_namespace_sees_nothing_outside(
    release: Release, second: Release, kubectl: Kubectl, outside: Kubectl, current: Version
) -> None:
    said = release.upgrade(current, *confined_to(kubectl))
    assert "the metrics API is off because the chart is confined to namespaces" in said
    inside, other = Embedder(kubectl), Embedder(outside)
    scaled = {"mode": "HPA", "maxReplicas": 2}
    other.create(autoscaling=scaled)
    inside.create(autoscaling=scaled)

    scaling = until(lambda: inside.condition("AutoscalerReady"), "what is said of the autoscaler")
    assert (scaling["status"], scaling["reason"]) == ("False", "MetricsUnavailable")
    assert "nobody in this cluster answers custom.metrics.k8s.io" in scaling["message"]
    assert "Enable metricsApi in the chart" in scaling["message"]
    assert "Phase:          Succeeded" in release.test()  # in the one namespace it may work in
    assert other.status() == {}
    assert outside("get", "deployments,services,hpa", "-o", "name") == ""
    assert not [one for one in leftovers(release) if one.startswith(("cluster", "apiservice"))]
    assert allowed(kubectl, release) == "yes"
    assert allowed(outside, release) == "no"

    second.upgrade(current, *confined_to(outside), "crds.install=false")
    until(lambda: other.condition("AutoscalerReady"), "the second operator to see it")
    assert allowed(kubectl, second) == "no"


def confined_to(kubectl: Kubectl) -> list[str]:
    return [f'watchNamespaces=["{kubectl.namespace}"]', "rbac.aggregateClusterRoles=false"]


def allowed(kubectl: Kubectl, release: Release) -> str:
    """Whether a release's operator may see the pods of a namespace."""
    [operator] = release.kubectl.inside(release.namespace).get("deployments")["items"]
    account = operator["spec"]["template"]["spec"]["serviceAccountName"]
    return may(kubectl, f"system:serviceaccount:{release.namespace}:{account}", "list", "pods")


def may(kubectl: Kubectl, user: str, verb: str, what: str) -> str:
    """The API server's own opinion: yes or no."""
    try:
        return kubectl("auth", "can-i", verb, what, "--as", user).strip()
    except CommandFailed:  # it ends with 1 when it says no
        return "no"


def test_everything_runs_under_a_user_that_the_cluster_assigns(
    release: Release, current: Version
) -> None:
    assigned = '{"runAsUser": 1000680000, "runAsGroup": 0, "fsGroup": 1000680000}'
    release.upgrade(
        current,
        f"podSecurityContext={assigned[:-1]}, "
        '"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}',
        f'tests.embedder.podTemplate={{"spec": {{"securityContext": {assigned}}}}}',
    )

    assert "Phase:          Succeeded" in release.test()
    kubectl = release.kubectl.inside(release.namespace)
    who = kubectl(
        "exec", "deployment/smart-embedder", "--", "python3", "-c", "import os; print(os.getuid())"
    )
    assert who.strip() == "1000680000"


@pytest.fixture
def adapter(kubectl: Kubectl, operator_image: str) -> Iterator[Kubectl]:
    """Another provider of custom metrics."""
    provider.start(kubectl, operator_image)
    yield kubectl
    provider.stop(kubectl)


def test_beside_another_provider_of_custom_metrics_ours_stays_out_and_says_so(
    release: Release, adapter: Kubectl, current: Version
) -> None:
    said = release.upgrade(current)
    assert "another provider answers custom.metrics.k8s.io" in said
    kubectl = release.kubectl.inside(release.namespace)
    pod = until(lambda: operator_pod(release), "the operator to lead")

    until(lambda: "another provider holds the group: staying out" in kubectl("logs", pod), "a word")
    assert registered(kubectl) == {provider.API_SERVICE: (adapter.namespace, "adapter")}
    assert "Phase:          Succeeded" in release.test()

    provider.stop(adapter)
    until(lambda: len(registered(kubectl)) == 2, "ours, now that nobody holds the group")
    assert set(registered(kubectl).values()) == {(release.namespace, "smart-embedder-metrics-api")}


def registered(kubectl: Kubectl) -> dict[str, tuple[str, str]]:
    """Which Service answers for each version of the custom metrics."""
    return {
        one["metadata"]["name"]: (
            one["spec"]["service"]["namespace"],
            one["spec"]["service"]["name"],
        )
        for one in kubectl.get("apiservices")["items"]
        if one["spec"].get("group") == CUSTOM_METRICS
    }


def test_a_certificate_of_the_clusters_own_is_served_and_trusted(
    release: Release, current: Version
) -> None:
    kubectl = release.kubectl.inside(release.namespace)
    service = "smart-embedder-metrics-api"
    made = new_certificate((f"{service}.{release.namespace}.svc",), utc_now())
    files = {"tls.crt": made.chain, "tls.key": made.key, "ca.crt": made.authorities}
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "mine"},
            "stringData": files,
        }
    )

    release.upgrade(current, 'metricsApi.existingSecret="mine"')

    names = [f"apiservice/{version}.{CUSTOM_METRICS}" for version in ("v1beta1", "v1beta2")]
    until(lambda: len(registered(kubectl)) == 2, "both versions to be registered")
    kubectl("wait", *names, "--for=condition=Available", "--timeout=60s")
    trusted = kubectl.get(names[0])["spec"]["caBundle"]
    assert b64decode(trusted).decode() == made.authorities
    assert kubectl.find("secret", service) is None


def test_editors_and_admins_write_embedders_and_viewers_only_look(
    release: Release, kubectl: Kubectl, current: Version
) -> None:
    release.upgrade(current)
    for role in ("view", "edit", "admin"):
        kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}")
    until(lambda: may(kubectl, "view", "get", "embedders") == "yes", "the role to grow")
    until(lambda: may(kubectl, "admin", "create", "embedders") == "yes", "the roles to grow")

    for role in ("edit", "admin"):
        kubectl("create", "-f", QUICKSTART, "--as", role)
        kubectl("scale", "embedder/search", "--replicas=0", "--as", role)
        assert "search" in kubectl("get", "embedders", "--as", "view")
        with pytest.raises(CommandFailed, match="forbidden"):
            kubectl("delete", "embedder", "search", "--as", "view")
        kubectl("delete", "embedder", "search", "--as", role)

    with pytest.raises(CommandFailed, match=r'User "view" cannot create resource "embedders"'):
        kubectl("create", "-f", QUICKSTART, "--as", "view")
    with pytest.raises(CommandFailed, match="forbidden"):
        kubectl("get", "embedders", "--as", "nobody")
    answers = {role: may(kubectl, role, "patch", "embedders") for role in ("view", "edit", "admin")}
    assert answers == {"view": "no", "edit": "yes", "admin": "yes"}
