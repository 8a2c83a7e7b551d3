"""The closed list of causes, and for each what a person can do. Words only.

Every word is a heading of docs/troubleshooting.md, which the messages link to.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why an Embedder is not as it should be."""

    # What was written
    INVALID_SPEC = "InvalidSpec"
    PROFILE_NOT_FOUND = "ProfileNotFound"
    PROMOTE_UNKNOWN = "PromoteUnknown"
    # What the API server did not take
    QUOTA_EXCEEDED = "QuotaExceeded"
    POD_SECURITY_REFUSED = "PodSecurityRefused"
    RUNTIME_CLASS_MISSING = "RuntimeClassMissing"
    PRIORITY_CLASS_MISSING = "PriorityClassMissing"
    PODS_REFUSED = "PodsRefused"
    FORBIDDEN = "Forbidden"
    APPLY_REFUSED = "ApplyRefused"
    APPLY_FAILED = "ApplyFailed"
    CRD_NOT_INSTALLED = "CRDNotInstalled"
    # Where the pods should run
    NO_GPU = "NoGPU"
    INSUFFICIENT_GPU = "InsufficientGPU"
    INSUFFICIENT_RESOURCES = "InsufficientResources"
    UNSCHEDULABLE = "Unschedulable"
    ROLLOUT_DEADLOCK = "RolloutDeadlock"
    NODE_LOST = "NodeLost"
    # What they mount
    STORAGE_CLASS_MISSING = "StorageClassMissing"
    CLAIM_MISSING = "ClaimMissing"
    UNBOUND_VOLUME = "UnboundVolume"
    MOUNT_FAILED = "MountFailed"
    # Their images and what they are given
    PULL_SECRET_MISSING = "PullSecretMissing"  # noqa: S105 - a reason, not a password
    IMAGE_PULL_FAILED = "ImagePullFailed"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - a reason, not a password
    CONFIG_MAP_MISSING = "ConfigMapMissing"
    CONTAINER_START_FAILED = "ContainerStartFailed"
    # What the service says of its own start
    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_NOT_CACHED = "ModelNotCached"
    MODEL_GATED = "ModelGated"
    MODEL_DOWNLOAD_FAILED = "ModelDownloadFailed"
    MODEL_LOAD_FAILED = "ModelLoadFailed"
    DEVICE_UNAVAILABLE = "DeviceUnavailable"
    INVALID_SETTINGS = "InvalidSettings"
    # How they run
    OOM_KILLED = "OOMKilled"
    STARTUP_TIMEOUT = "StartupTimeout"
    CRASH_LOOP = "CrashLoop"
    READINESS_FAILING = "ReadinessFailing"
    MIXED_VECTORS = "MixedVectors"
    # What stands around them
    METRICS_UNAVAILABLE = "MetricsUnavailable"
    AUTOSCALER_FAILED = "AutoscalerFailed"
    ROUTE_CONFLICT = "RouteConflict"
    ROUTE_NOT_ACCEPTED = "RouteNotAccepted"
    UNKNOWN = "Unknown"


ADVICE: dict[Reason, str] = {
    Reason.INVALID_SPEC: "What runs is left as it is until this is mended.",
    Reason.PROFILE_NOT_FOUND: (
        "Use one of those, or add the profile to the values of the chart. What runs is left as it "
        "is."
    ),
    Reason.PROMOTE_UNKNOWN: (
        "Set spec.rollout.promote to one of the fingerprints of status.tracks."
    ),
    Reason.QUOTA_EXCEEDED: "Raise the ResourceQuota of the namespace, or ask for less.",
    Reason.POD_SECURITY_REFUSED: (
        "The operator's own pods meet the restricted standard: look for what spec.podTemplate adds."
    ),
    Reason.RUNTIME_CLASS_MISSING: (
        "Install the RuntimeClass (the GPU operator brings `nvidia`), or take it out of "
        "spec.hardware or its profile."
    ),
    Reason.PRIORITY_CLASS_MISSING: (
        "Create the PriorityClass, or take spec.hardware.priorityClassName out."
    ),
    Reason.PODS_REFUSED: "An admission policy of this cluster refuses the pods: ask its owner.",
    Reason.FORBIDDEN: (
        "The operator may not do this: upgrade the chart with rbac.create, or add this namespace "
        "to watchNamespaces."
    ),
    Reason.APPLY_REFUSED: "If spec.podTemplate or a label names this field, correct it there.",
    Reason.APPLY_FAILED: (
        "Where this names a webhook, mend it or delete its configuration (kubectl get "
        "validatingwebhookconfigurations,mutatingwebhookconfigurations). The operator goes on "
        "trying."
    ),
    Reason.CRD_NOT_INSTALLED: "Install it, or switch the field off.",
    Reason.NO_GPU: (
        "Add a GPU node and its device plugin, or use hardware.profile cpu with a small model."
    ),
    Reason.INSUFFICIENT_GPU: (
        "Free one, add a GPU node, or ask for fewer pods. It goes on by itself when one is free."
    ),
    Reason.INSUFFICIENT_RESOURCES: (
        "Add a node, or ask for less in spec.hardware.resources or the profile."
    ),
    Reason.UNSCHEDULABLE: (
        "Compare spec.hardware (nodeSelector, tolerations, affinity) and its profile with the "
        "nodes' labels and taints."
    ),
    Reason.ROLLOUT_DEADLOCK: (
        "Add a GPU for the time of the change, or set spec.rollout.strategy to Auto or InPlace; "
        "for a change of vectors to Recreate, which stops the old pods first."
    ),
    Reason.NODE_LOST: (
        "Kubernetes replaces its pods after five minutes; if the node is gone for good, delete it "
        "to make that at once."
    ),
    Reason.STORAGE_CLASS_MISSING: (
        "Create it, or name one of `kubectl get storageclass` in spec.cache.storageClassName."
    ),
    Reason.CLAIM_MISSING: "Create the claim in this namespace, or mend spec.cache.claimName.",
    Reason.UNBOUND_VOLUME: (
        "Check the StorageClass and its provisioner, or provide a volume of that size and mode."
    ),
    Reason.MOUNT_FAILED: (
        "Often another node still holds the volume: use accessMode ReadWriteMany, or wait for the "
        "old pod to go."
    ),
    Reason.PULL_SECRET_MISSING: (
        "Create it in this namespace (kubectl create secret docker-registry), or take it out of "
        "spec.image.pullSecrets."
    ),
    Reason.IMAGE_PULL_FAILED: (
        "Check spec.image.reference, its tag, and that the nodes reach the registry."
    ),
    Reason.SECRET_MISSING: "Create the Secret with that key in this namespace.",
    Reason.CONFIG_MAP_MISSING: "Create the ConfigMap with that key in this namespace.",
    Reason.CONTAINER_START_FAILED: (
        "Look at the image and at what spec.podTemplate and spec.env add."
    ),
    Reason.MODEL_NOT_FOUND: "Check the name and revision in spec.models on the hub.",
    Reason.MODEL_NOT_CACHED: (
        "Put the model into the cache volume or image, or let the pods download: "
        "spec.hub.offline: false."
    ),
    Reason.MODEL_GATED: (
        "Accept the model's licence on the hub and give a token that may read it: "
        "spec.hub.tokenSecretRef."
    ),
    Reason.MODEL_DOWNLOAD_FAILED: (
        "Check that pods reach the hub: spec.proxy, spec.hub.endpoint, spec.networkPolicy.egress, "
        "and the cluster's firewall."
    ),
    Reason.MODEL_LOAD_FAILED: (
        "The files are not a model this service can load: check spec.models, or empty the cache if "
        "a download was cut off."
    ),
    Reason.DEVICE_UNAVAILABLE: (
        "The pod asks for a GPU and sees none: check the node's driver and device plugin, "
        "hardware.runtimeClassName, and that the limits name a GPU."
    ),
    Reason.INVALID_SETTINGS: "Correct the variable in spec.env or the field it belongs to.",
    Reason.OOM_KILLED: (
        "Raise the memory limit (spec.hardware), or lower spec.serving.maxBatchTokens."
    ),
    Reason.STARTUP_TIMEOUT: (
        "The model did not load in time: a cache (spec.cache.type PVC with prewarm) spares the "
        "download."
    ),
    Reason.CRASH_LOOP: "Its log has more: kubectl logs with --previous.",
    Reason.READINESS_FAILING: (
        "The pod runs and does not accept work; kubectl describe pod shows what the probe sees."
    ),
    Reason.MIXED_VECTORS: (
        "Pin the models to commits (spec.models.*.revision) and delete the pod that differs."
    ),
    Reason.METRICS_UNAVAILABLE: (
        "Enable metricsApi in the chart, or install prometheus-adapter, or scale with KEDA; where "
        "one of them answers, see whether it reaches the pods' metrics port."
    ),
    Reason.AUTOSCALER_FAILED: "kubectl describe the autoscaler shows more.",
    Reason.ROUTE_CONFLICT: "Give one of the two another host name in spec.route.hostnames.",
    Reason.ROUTE_NOT_ACCEPTED: (
        "Compare spec.route with the Gateway's listeners and the namespaces they allow."
    ),
    Reason.UNKNOWN: "No known cause fits; these are the facts.",
}
