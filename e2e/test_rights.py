"""The operator's rights: each one is used, none is missing, and none reaches into a Secret."""

from collections.abc import Iterator

import pytest

from e2e import foreign
from e2e.audit import AuditLog
from e2e.cluster.cluster import EmbeddedCluster
from e2e.cluster.commands import CommandFailed
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.waiting import until
from e2e.embedder import OURS, Embedder
from e2e.rights import Grants, Right, granted, used

NAMESPACE = ACCOUNT = "smart-embedder"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
OPERATOR = "deployment/smart-embedder"
SECRET = "smart-embedder-metrics-api"
KINDS = (
    foreign.HTTP_ROUTE,
    foreign.SERVICE_MONITOR,
    foreign.PROMETHEUS_RULE,
    foreign.SCALED_OBJECT,
)

EXCEPTIONS = {
    Right("leases", verb): (
        "used every two seconds; the audit log leaves Leases out, being full of the nodes'"
    )
    for verb in ("create", "get", "update")
}
"""What is granted and cannot be seen used, with the reason why it is granted nevertheless."""

EVERYTHING = {
    "cache": {"type": "PVC", "accessMode": "ReadWriteMany", "prewarm": True},
    "autoscaling": {"mode": "HPA", "maxReplicas": 3},
    "route": {"parentRefs": [{"name": "gateway"}]},
    "monitoring": {"serviceMonitor": "Enabled", "prometheusRule": "Enabled"},
}
NOTHING = {
    "cache": None,
    "autoscaling": {"mode": "KEDA", "prometheusAddress": "http://prometheus:9090"},
    "route": None,
    "monitoring": {"serviceMonitor": "Disabled", "prometheusRule": "Disabled"},
    "networkPolicy": {"enabled": False},
    "availability": {"pdb": "Disabled"},
}
OPTIONAL = (
    "jobs,persistentvolumeclaims,horizontalpodautoscalers,poddisruptionbudgets,networkpolicies,"
    "httproutes,servicemonitors,prometheusrules"
)
OPTIONAL_COUNT = len(OPTIONAL.split(","))


@pytest.fixture
def all_kinds(operator: Kubectl) -> Iterator[None]:
    """Every kind that the operator can make is there to be made."""
    foreign.install(operator, *KINDS)
    yield
    foreign.remove(operator, *KINDS)


def children(kubectl: Kubectl, embedder: Embedder, kinds: str) -> int:
    return len(kubectl.get(kinds, "-l", f"{OURS}={embedder.name}")["items"])


def make_and_take_away_everything(kubectl: Kubectl, embedder: Embedder) -> None:
    """One Embedder's life, without a pod that ever runs: nobody's node has the label."""
    nowhere = {"profile": "cpu-small", "nodeSelector": {"smart-embedder.io/e2e": "nowhere"}}
    embedder.create(models={"embedding": "BAAI/bge-m3"}, hub={}, hardware=nowhere)

    def there(kinds: str, count: int) -> None:
        until(lambda: children(kubectl, embedder, kinds) == count, f"{count} {kinds}", seconds=60)

    there("deployments", 1)
    embedder.edit(**EVERYTHING)
    there(OPTIONAL, OPTIONAL_COUNT)
    embedder.edit(**NOTHING)
    there(OPTIONAL, 0)
    there("scaledobjects", 1)
    embedder.edit(autoscaling=None, replicas=0, rollout={"promotion": "Manual"})
    there("scaledobjects", 0)
    embedder.edit(models={"maxLength": 256})
    there("deployments", 2)
    embedder.edit(rollout={"promotion": "Automatic"})
    there("deployments", 1)
    there("services", 2)


def stop_and_start(operator: Kubectl) -> None:
    """The operator withdraws its registration, loses its Secret, and begins anew."""
    operator("scale", OPERATOR, "--replicas=0")
    until(lambda: registrations(operator) == 0, "the withdrawal", seconds=30)
    operator("delete", "secret", SECRET)
    operator("scale", OPERATOR, "--replicas=1")
    until(lambda: registrations(operator) == 2, "the registration", seconds=90)


def registrations(kubectl: Kubectl) -> int:
    names = kubectl("get", "apiservices", "-o", "name").split()
    return sum("custom.metrics.k8s.io" in name for name in names)


@pytest.mark.usefixtures("all_kinds")
def test_the_rights_granted_are_the_rights_used(
    kubectl: Kubectl, operator: Kubectl, embedded: EmbeddedCluster
) -> None:
    try:
        stop_and_start(operator)
    finally:
        operator("scale", OPERATOR, "--replicas=1")
    make_and_take_away_everything(kubectl, Embedder(kubectl))

    logs = embedded.layout.logs("control").glob("audit*.log")
    seen = used(logs, USER)
    rights = granted(operator, NAMESPACE, ACCOUNT).rights
    assert seen - rights == set()
    assert rights - seen == set(EXCEPTIONS)


def test_the_operator_reads_no_secret_but_its_own(
    operator: Kubectl, embedded: EmbeddedCluster
) -> None:
    grants = granted(operator, NAMESPACE, ACCOUNT)
    assert {right.verb for right in grants.rights if right.resource == "secrets"} <= {
        "create",
        "get",
        "update",
    }
    for verb in ("get", "update"):
        assert grants.names[Right("secrets", verb)] == {SECRET}
    for log in embedded.layout.logs("control").glob("audit*.log"):
        requests = AuditLog(log).requests(USER)
        touched = {(r.namespace, r.name) for r in requests if r.resource == "secrets"}
        assert touched <= {(NAMESPACE, SECRET), (NAMESPACE, "")}


def test_the_operator_cannot_enter_pods_nor_read_their_logs_and_has_no_wildcard(
    operator: Kubectl,
) -> None:
    grants: Grants = granted(operator, NAMESPACE, ACCOUNT)
    assert not [right for right in grants.rights if "*" in right]
    assert not [right for right in grants.rights if right.resource.startswith("pods/")]
    for words in (
        ("create", "pods", "--subresource=exec"),
        ("get", "pods", "--subresource=log"),
        ("list", "secrets"),
        ("get", "secret/somebody-elses"),
    ):
        assert not may(operator, *words), words
    assert may(operator, "get", f"secret/{SECRET}")


def may(kubectl: Kubectl, *words: str) -> bool:
    try:
        return kubectl("auth", "can-i", *words, f"--as={USER}").strip() == "yes"
    except CommandFailed:
        return False
