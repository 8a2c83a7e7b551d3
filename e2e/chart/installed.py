"""What a release has in the cluster: its operator at work, and what is left when it is gone."""

from e2e.evidence import listable
from e2e.release import Release

_CLUSTER_WIDE = "clusterroles,clusterrolebindings,apiservices,roles,rolebindings"
_ALWAYS_THERE = {"configmap/kube-root-ca.crt", "serviceaccount/default"}


def operator_pod(release: Release) -> str:
    """The one operator pod, once it leads and no other is left; empty until then."""
    kubectl = release.kubectl.inside(release.namespace)
    lease = kubectl.find("lease", release.name)
    pods = kubectl("get", "pods", "-l", "app.kubernetes.io/component=operator", "-o", "name")
    leader = lease["spec"]["holderIdentity"] if lease else ""
    return leader if pods.split() == [f"pod/{leader}"] else ""


def reconciles(release: Release) -> float:
    """How many reconciles the operator that now leads has done."""
    pod = operator_pod(release)
    if not pod:
        return 0.0
    where = f"/api/v1/namespaces/{release.namespace}/pods/{pod}:8080/proxy/metrics"
    page = release.kubectl("get", "--raw", where).splitlines()
    counts = [line for line in page if line.startswith("controller_runtime_reconcile_total")]
    return sum(float(line.split()[-1]) for line in counts)


def leftovers(release: Release) -> set[str]:
    """Every object in the release's namespace, and the rights and registrations elsewhere."""
    kubectl = release.kubectl.inside(release.namespace)
    inside = kubectl("get", listable(kubectl), "-o", "name").split()
    ours = "app.kubernetes.io/name=smart-embedder"
    beyond = release.kubectl("get", _CLUSTER_WIDE, "-A", "-l", ours, "-o", "name").split()
    return {*inside, *beyond} - _ALWAYS_THERE
