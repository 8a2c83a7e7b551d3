"""Whether a live object still says what we last told it.

The API server adds defaults, other controllers add fields of their own, and quantities come
back in another spelling; none of that is drift. A field of ours with another value is. Pure
comparison of JSON, without a word about what should be done.
"""

import hashlib
import re
from decimal import Decimal
from typing import Any

import msgspec

from smart_embedder_operator.kube import Manifest

APPLIED = "smart-embedder.io/applied"
"""The annotation that holds the fingerprint of the manifest we applied last."""

# Lists that the API server merges by a key, so that others may add entries between ours.
_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "ownerReferences": "uid",
}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|Ki|[MGTPE]i?)?")
_SUFFIX = {"": Decimal(1), "m": Decimal("0.001"), "k": Decimal(1000), "Ki": Decimal(1024)}
_SUFFIX |= {unit: Decimal(1000) ** power for power, unit in enumerate("MGTPE", start=2)}
_SUFFIX |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("MGTPE", start=2)}


def stamped(desired: Manifest) -> Manifest:
    """The manifest with its own fingerprint as an annotation."""
    text = msgspec.json.encode(desired, order="deterministic")
    fingerprint = hashlib.sha256(text).hexdigest()[:16]
    metadata = desired["metadata"]
    annotations = metadata.get("annotations", {}) | {APPLIED: fingerprint}
    return desired | {"metadata": metadata | {"annotations": annotations}}


def differs(desired: Manifest, live: Manifest) -> bool:
    """Whether applying the stamped manifest would change the live object.

    The fingerprint tells a field that is no longer wanted, which a comparison cannot see.
    """
    return not _holds(desired, live, "")


def _holds(wanted: Any, live: Any, name: str) -> bool:
    match wanted:
        case dict():
            there = live if isinstance(live, dict) else {}
            return all(_holds(value, there.get(key), key) for key, value in wanted.items())
        case list():
            return _list_holds(wanted, live if isinstance(live, list) else [], name)
        case None | "" | False:
            return not live  # the API server drops empty values
    return bool(wanted == live) or _same_quantity(wanted, live)


def _list_holds(wanted: list[Any], live: list[Any], name: str) -> bool:
    key = _KEYS.get(name)
    if key is None or not all(isinstance(entry, dict) and key in entry for entry in wanted + live):
        return len(wanted) == len(live) and all(map(_holds, wanted, live, [name] * len(wanted)))
    there = {entry[key]: entry for entry in live}
    return all(_holds(entry, there.get(entry[key]), name) for entry in wanted)


def _same_quantity(wanted: Any, live: Any) -> bool:
    """`1000m` comes back as `1`, and a number may come back as a string."""
    one, other = _QUANTITY.fullmatch(str(wanted)), _QUANTITY.fullmatch(str(live))
    if one is None or other is None:
        return False
    return _amount(one) == _amount(other)


def _amount(match: re.Match[str]) -> Decimal:
    return Decimal(match[1]) * _SUFFIX[match[2] or ""]
