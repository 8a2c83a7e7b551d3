"""The pods of a track: restricted, placed by their hardware, spread, with their volumes. Pure."""

from smart_embedder_operator import record
from smart_embedder_operator.labels import CONFIG_HASH, of_track, track_selector
from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.resources import timing
from smart_embedder_operator.resources.cache import volume
from smart_embedder_operator.resources.container import container
from smart_embedder_operator.resources.context import Context
from smart_embedder_operator.resources.manifest import plain, present
from smart_embedder_operator.resources.merge import Unmergeable, merge
from smart_embedder_operator.spec import Embedder
from smart_embedder_operator.spec.pod import CONTAINER, serving_container
from smart_embedder_operator.tracks import child_name

# The user of our images; any other id works too, which is what OpenShift assigns.
USER = 65532


def template(
    embedder: Embedder, context: Context, fingerprint: str, settings: dict[str, str]
) -> Manifest:
    """The pod template of a track, with the Embedder's own template laid over it."""
    extra = embedder.spec.pod_template
    spec = merge(pod_spec(embedder, context, fingerprint, container(embedder, context)), extra.spec)
    _feed(spec, child_name(embedder.name, fingerprint))
    return {
        "metadata": {
            "labels": extra.metadata.labels | of_track(embedder.name, fingerprint),
            "annotations": extra.metadata.annotations | {CONFIG_HASH: record.letters(settings, 16)},
        },
        "spec": spec,
    }


def _feed(spec: Manifest, config_map: str) -> None:
    """Give the container its settings, after the merge: the template may bring sources too."""
    ours = serving_container(spec)
    if ours is None:
        raise Unmergeable(f"containers: the serving container {CONTAINER} must stay")
    ours["envFrom"] = [{"configMapRef": {"name": config_map}}, *ours.get("envFrom", [])]


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
