"""Strategic merge, as `kubectl patch --type strategic` does it for pods. Pure, on plain JSON.

Lists of named things are merged by the key Kubernetes itself uses; other lists are replaced; null
removes a field; `$patch: delete` removes an entry and `$patch: replace` replaces what is there.
"""

from typing import Any

# patchMergeKey of the fields of a PodSpec, from the Kubernetes API types.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
}


class Unmergeable(ValueError):
    """A patch that nothing can be merged with; says where."""


def merge(current: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """The current object with the patch laid over it."""
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    merged = dict(current)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            there = current.get(key)
            merged[key] = merge(there if isinstance(there, dict) else {}, value)
        elif isinstance(value, list) and key in MERGE_KEYS:
            merged[key] = _merge_lists(current.get(key) or [], value, key)
        else:
            merged[key] = value
    return merged


def _merge_lists(current: list[dict[str, Any]], patch: list[Any], field: str) -> list[Any]:
    key = MERGE_KEYS[field]
    merged = {entry.get(key): entry for entry in current}
    for entry in patch:
        if not isinstance(entry, dict) or key not in entry:
            raise Unmergeable(f"{field}: every entry needs its {key}")
        name = entry[key]
        if entry.get("$patch") == "delete":
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name, {}), entry)
    return list(merged.values())
