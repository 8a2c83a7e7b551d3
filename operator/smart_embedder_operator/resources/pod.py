"""The pods of a track: one container, restricted, placed by its hardware. Pure."""

from typing import Any

from smart_embedder_operator import record
from smart_embedder_operator.labels import CONFIG_HASH, of_track, track_selector
from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.profiles import Profile
from smart_embedder_operator.resources import timing
from smart_embedder_operator.resources.cache import volume
from smart_embedder_operator.resources.config import CACHE_PATH, METRICS_PORT, PORT
from smart_embedder_operator.resources.context import Context
from smart_embedder_operator.resources.manifest import plain, present
from smart_embedder_operator.resources.merge import merge
from smart_embedder_operator.spec import Embedder, Spec
from smart_embedder_operator.spec.models import SecretKey
from smart_embedder_operator.tracks import child_name

CONTAINER = "embedder"
CA_FOLDER = "/etc/smart-embedder/ca"

# The user of our images; any other id works too, which is what OpenShift assigns.
USER = 65532


def template(
    embedder: Embedder, context: Context, fingerprint: str, settings: dict[str, str]
) -> Manifest:
    """The pod template of a track, with the Embedder's own template laid over it."""
    extra = embedder.spec.pod_template
    spec = merge(pod_spec(embedder, context, fingerprint, container(embedder, context)), extra.spec)
    _feed(spec["containers"], child_name(embedder.name, fingerprint))
    return {
        "metadata": {
            "labels": extra.metadata.labels | of_track(embedder.name, fingerprint),
            "annotations": extra.metadata.annotations | {CONFIG_HASH: record.letters(settings, 16)},
        },
        "spec": spec,
    }


def _feed(containers: list[Manifest], config_map: str) -> None:
    """Give the container its settings, after the merge: the template may bring sources too."""
    for one in containers:
        if one["name"] == CONTAINER:
            one["envFrom"] = [{"configMapRef": {"name": config_map}}, *one.get("envFrom", [])]


def pod_spec(embedder: Embedder, context: Context, fingerprint: str, main: Manifest) -> Manifest:
    """Everything of a pod but its container."""
    spec, profile = embedder.spec, context.profile
    return present(
        serviceAccountName=embedder.name,
        # The pods never talk to the API server, and links would fill their environment.
        automountServiceAccountToken=False,
        enableServiceLinks=False,
        securityContext=_pod_security(context),
        terminationGracePeriodSeconds=timing.grace_seconds(spec, context.platform),
        imagePullSecrets=[
            {"name": name}
            for name in dict.fromkeys((*context.platform.pull_secrets, *spec.image.pull_secrets))
        ],
        nodeSelector=profile.node_selector,
        tolerations=plain(profile.tolerations),
        affinity=profile.affinity,
        runtimeClassName=profile.runtime_class_name,
        priorityClassName=spec.hardware.priority_class_name,
        schedulerName=spec.hardware.scheduler_name,
        topologySpreadConstraints=_spread(embedder, fingerprint),
        containers=[main],
        volumes=_volumes(embedder, fingerprint),
    )


def container(embedder: Embedder, context: Context) -> Manifest:
    """The serving container."""
    spec = embedder.spec
    return present(
        name=CONTAINER,
        image=image(spec, context),
        imagePullPolicy=spec.image.pull_policy,
        args=["serve"],
        env=_environment(spec),
        ports=[
            {"name": "http", "containerPort": PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
        ],
        resources=resources(context.profile),
        startupProbe=_probe("/health/startup", failures=timing.start_probes(spec)),
        readinessProbe=_probe("/health/ready", failures=2),
        # Slow is not dead: the service's own watchdog answers for hangs, this for a stuck loop.
        livenessProbe=_probe("/health/live", period=10, failures=3, timeout=5),
        # A failed start leaves its reason in this file; a crash leaves its last lines.
        terminationMessagePolicy="FallbackToLogsOnError",
        securityContext=container_security(),
        volumeMounts=mounts(spec),
    )


def image(spec: Spec, context: Context) -> str:
    """The Embedder's own image, the profile's, or the release's for the device."""
    images = context.platform.images
    released = images.cuda if context.profile.device == "cuda" else images.cpu
    return spec.image.reference or context.profile.image or released


def resources(profile: Profile) -> Manifest:
    """Requests and limits, as written."""
    return present(requests=profile.resources.requests, limits=profile.resources.limits)


def _probe(
    path: str, *, failures: int, period: int = timing.PROBE_PERIOD, timeout: int = 3
) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
        "successThreshold": 1,
    }


def _pod_security(context: Context) -> Manifest:
    restricted = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if context.platform.capabilities.open_shift:
        return restricted
    return restricted | {
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        # Walking a cache of many gigabytes at every start would take minutes.
        "fsGroupChangePolicy": "OnRootMismatch",
    }


def container_security() -> Manifest:
    """What the restricted Pod Security Standard asks, and a read-only root besides."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _environment(spec: Spec) -> list[Manifest]:
    """Secrets by reference, facts of the pod, then the Embedder's own variables by name."""
    ours = [
        _fact("POD_NAME", "metadata.name"),
        _fact("POD_NAMESPACE", "metadata.namespace"),
        _fact("NODE_NAME", "spec.nodeName"),
    ]
    if spec.tracing is not None:
        ours.append({"name": "OTEL_RESOURCE_ATTRIBUTES", "value": _POD_ATTRIBUTES})
    if spec.auth is not None:
        ours.append(_secret("API_TOKEN", spec.auth.secret_ref))
    if spec.hub.token_secret_ref is not None:
        ours.append(_secret("HF_TOKEN", spec.hub.token_secret_ref))
    if spec.ca_bundle is not None:
        path = f"{CA_FOLDER}/ca.crt"
        ours += [{"name": name, "value": path} for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")]
    theirs = {variable.name for variable in spec.env}
    return [*(one for one in ours if one["name"] not in theirs), *plain(spec.env)]


_POD_ATTRIBUTES = ",".join(
    (
        "k8s.pod.name=$(POD_NAME)",
        "k8s.namespace.name=$(POD_NAMESPACE)",
        "k8s.node.name=$(NODE_NAME)",
    )
)


def _fact(name: str, path: str) -> Manifest:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _secret(name: str, ref: SecretKey) -> Manifest:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key}}}


def _spread(embedder: Embedder, fingerprint: str) -> list[Manifest]:
    """Over nodes and zones; for each revision by itself, so that a rollout does not skew it."""
    wish = embedder.spec.availability.spread
    if wish == "Disabled":
        return []
    # A cluster without zones has no node that a hard rule about them would accept.
    rules = {
        "kubernetes.io/hostname": "DoNotSchedule" if wish == "Required" else "ScheduleAnyway",
        "topology.kubernetes.io/zone": "ScheduleAnyway",
    }
    return [
        {
            "topologyKey": key,
            "maxSkew": 1,
            "whenUnsatisfiable": rule,
            "labelSelector": {"matchLabels": track_selector(embedder.name, fingerprint)},
            "matchLabelKeys": ["pod-template-hash"],
        }
        for key, rule in rules.items()
    ]


def _volumes(embedder: Embedder, fingerprint: str) -> list[Manifest]:
    volumes: list[Manifest] = [
        {"name": "cache", **volume(embedder, fingerprint)},
        {"name": "tmp", "emptyDir": {}},
    ]
    bundle = embedder.spec.ca_bundle
    if bundle is not None:
        items = [{"key": bundle.config_map_ref.key, "path": "ca.crt"}]
        source = {"name": bundle.config_map_ref.name, "items": items}
        volumes.append({"name": "ca", "configMap": source})
    return volumes


def mounts(spec: Spec) -> list[Manifest]:
    """Where the volumes are seen in the container."""
    read_only = spec.cache.type == "Image" or spec.cache.read_only
    mounts: list[dict[str, Any]] = [
        present(name="cache", mountPath=CACHE_PATH, readOnly=read_only or None),
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own emptyDir
    ]
    if spec.ca_bundle is not None:
        mounts.append({"name": "ca", "mountPath": CA_FOLDER, "readOnly": True})
    return mounts
