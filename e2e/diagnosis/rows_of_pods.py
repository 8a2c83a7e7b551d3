"""Rows about pods: what they are given, what they say of their start, how they end."""

from typing import Any

from e2e.cluster.kubectl import Manifest
from e2e.diagnosis import facts
from e2e.diagnosis.acts import both, create, edit
from e2e.diagnosis.hub import ENDPOINT, open_hub
from e2e.diagnosis.manifests import asks_for, secret, template
from e2e.diagnosis.row import SERVICE_IMAGE, Row
from e2e.diagnosis.stand_in import CONTAINER, STAND_IN, WAITING
from e2e.embedder import SMALL
from e2e.workloads import GPU_TOLERATION

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


def model_row(
    name: str, reason: str, model: str, field: str, hub: Manifest, *, ends: str = "", **more: Any
) -> Row:
    """A model that the service cannot get from this hub; a demo model mends it."""
    return Row(
        name,
        reason=reason,
        says=(model, field),
        fact=facts.ended(ends or reason),
        is_real=True,
        spec={"models": {"embedding": model}, "hub": hub},
        mend=edit(models={"embedding": "demo/bge-m3"}),
        **more,
    )


MODELS = (
    model_row(
        "model-name-wrong",
        "ModelNotFound",
        "acme/bge-m4",
        "spec.models",
        {"endpoint": ENDPOINT},
        before=open_hub,
    ),
    model_row(
        "model-gated",
        "ModelGated",
        "gated/bge-m3",
        "spec.hub.tokenSecretRef",
        {"endpoint": ENDPOINT},
        before=open_hub,
    ),
    model_row(
        "hub-out-of-reach",
        "ModelDownloadFailed",
        "BAAI/bge-m3",
        "spec.networkPolicy.egress",
        {"endpoint": "http://127.0.0.1:9"},
    ),
    model_row(
        "offline-and-not-cached",
        "ModelNotCached",
        "BAAI/bge-m3",
        "spec.hub.offline",
        {"offline": True},
        ends="ModelNotFound",
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

GPU_NODES = (
    Row(
        "gpu-absent-inside-the-pod",
        reason="DeviceUnavailable",
        says=("cuda", "hardware.runtimeClassName"),
        fact=facts.ended("DeviceUnavailable"),
        is_real=True,
        spec={
            "models": {"embedding": "demo/bge-m3", "dtype": "float32"},
            "image": {"reference": SERVICE_IMAGE},
            "hardware": asks_for("nvidia.com/gpu", device="cuda", tolerations=[GPU_TOLERATION]),
        },
        mend=edit(hardware={"device": "cpu"}),
        is_embedded=True,
    ),
)
