"""The shape of an Embedder's status: what `conditions` writes, described for its readers."""

from typing import Any

Schema = dict[str, Any]


def _text(description: str, longest: int = 1024) -> Schema:
    return {"type": "string", "description": description, "maxLength": longest}


def _number(description: str) -> Schema:
    return {"type": "integer", "description": description}


def _object(description: str, **properties: Schema) -> Schema:
    return {"type": "object", "description": description, "properties": properties}


_CONDITION: Schema = {
    **_object(
        "One thing that is so or not so.",
        type={**_text("What it is about.", 316), "minLength": 1},
        status={
            "type": "string",
            "description": "Whether it is so.",
            "enum": ["True", "False", "Unknown"],
        },
        reason={**_text("The cause, in one word of a closed list."), "minLength": 1},
        message=_text("What was seen, and what to do about it.", 32768),
        observedGeneration=_number("The generation of the Embedder it speaks of."),
        lastTransitionTime={
            "type": "string",
            "format": "date-time",
            "description": "When its status last changed.",
        },
    ),
    "required": ["type", "status", "reason", "message", "lastTransitionTime"],
}

_TRACK: Schema = {
    **_object(
        "One meaning of vectors, with its own pods. There are two while vectors migrate.",
        fingerprint=_text("Its name; spec.rollout.promote takes it.", 8),
        role={
            "type": "string",
            "enum": ["Serving", "Next", "Standby"],
            "description": (
                "Serving answers behind the Service, Next is being made ready, Standby has no pods "
                "and can be promoted again."
            ),
        },
        models=_text("Its models."),
        vectorFingerprint=_text(
            "What its answers say in X-Vector-Fingerprint: vectors compare only if it is equal.", 64
        ),
        revisions={
            "type": "object",
            "description": "The commits its models are pinned to, by role.",
            "additionalProperties": {"type": "string", "maxLength": 128},
            "maxProperties": 8,
        },
        replicas=_number("Its pods."),
        readyReplicas=_number("Those of them that are ready."),
        previewService=_text("A Service that reaches this track alone.", 63),
    ),
    "required": ["fingerprint", "role"],
}

STATUS_SCHEMA: Schema = _object(
    "What is so. Written by the operator alone.",
    observedGeneration=_number("The generation of the spec that this speaks of."),
    conditions={
        "type": "array",
        "description": "Ready, Available, Progressing, Degraded, and where they apply ModelCached, "
        "AutoscalerReady, MonitoringReady.",
        "items": _CONDITION,
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    },
    fingerprint=_text("The track that serves.", 8),
    vectorFingerprint=_text("What answers say in X-Vector-Fingerprint now.", 64),
    models=_text("The models by name."),
    tracks={
        "type": "array",
        "description": "The tracks; one, except while vectors migrate.",
        "items": _TRACK,
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["fingerprint"],
    },
    replicas=_number("Pods of the serving track."),
    readyReplicas=_number("Those of them that are ready."),
    selector=_text("Label selector of the serving pods, for autoscalers."),
    endpoint=_text("Where to send requests from inside the cluster."),
    queueDepth=_number("Requests waiting and running in all pods."),
    lastFailure=_object(
        "The newest bad end of a container that is not up again.",
        reason=_text("What it is called."),
        message=_text("What it said.", 32768),
        pod=_text("The pod.", 253),
        exitCode=_number("Its exit code."),
        time={"type": "string", "format": "date-time", "description": "When it ended."},
    ),
)
