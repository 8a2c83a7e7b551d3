"""The serving container: image, variables, probes, and what it sees of the disk. Pure."""

from typing import Any

from smart_embedder_operator import recipes
from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.profiles import Profile
from smart_embedder_operator.resources import timing
from smart_embedder_operator.resources.config import CACHE_PATH, METRICS_PORT, PORT
from smart_embedder_operator.resources.context import Context
from smart_embedder_operator.resources.manifest import plain, present
from smart_embedder_operator.spec import Embedder, Spec
from smart_embedder_operator.spec.models import SecretKey
from smart_embedder_operator.spec.pod import CONTAINER

CA_FOLDER = "/etc/smart-embedder/ca"


def container(embedder: Embedder, context: Context) -> Manifest:
    """The serving container."""
    spec = embedder.spec
    return present(
        name=CONTAINER,
        image=_image(spec, context),
        imagePullPolicy=spec.image.pull_policy,
        args=["serve"],
        env=_environment(spec),
        ports=[
            {"name": "http", "containerPort": PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
        ],
        resources=_resources(context.profile),
        startupProbe=_probe("/health/startup", failures=timing.start_probes(spec)),
        readinessProbe=_probe("/health/ready", failures=2),
        # Slow is not dead: the service's own watchdog answers for hangs, this for a stuck loop.
        livenessProbe=_probe("/health/live", period=10, failures=3, timeout=5),
        # A failed start leaves its reason in this file; a crash leaves its last lines.
        terminationMessagePolicy="FallbackToLogsOnError",
        securityContext=_security(),
        volumeMounts=_mounts(spec),
    )


def _image(spec: Spec, context: Context) -> str:
    """The one that a person names, or the release's for the device."""
    images = context.platform.images
    released = images.cuda if context.profile.device == "cuda" else images.cpu
    return recipes.own_image(spec, context.profile) or released


def _resources(profile: Profile) -> Manifest:
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


def _security() -> Manifest:
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


def _mounts(spec: Spec) -> list[Manifest]:
    """Where the volumes are seen in the container."""
    read_only = spec.cache.type == "Image" or spec.cache.read_only
    mounts: list[dict[str, Any]] = [
        present(name="cache", mountPath=CACHE_PATH, readOnly=read_only or None),
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own emptyDir
    ]
    if spec.ca_bundle is not None:
        mounts.append({"name": "ca", "mountPath": CA_FOLDER, "readOnly": True})
    return mounts
