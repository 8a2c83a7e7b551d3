"""Rows about what stands around pods: nodes and volumes, autoscaler, monitoring, routes."""

from e2e import foreign
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
from e2e.diagnosis.manifests import asks_for, cache, quota, route, storage_class, volume
from e2e.diagnosis.row import Row, nothing
from e2e.embedder import SMALL
from e2e.workloads import GPU_TOLERATION

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
        is_embedded=True,
    ),
)
