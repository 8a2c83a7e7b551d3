"""The page docs/embedder.md, generated from the schema: `python -m …reference > docs/embedder.md`.

It only lays out words that stand elsewhere: descriptions and rules in `spec`, causes in
`conditions`.
"""

import sys
from collections.abc import Iterator

from smart_embedder_operator.conditions import ADVICE
from smart_embedder_operator.schema import Schema, crd

_HEAD = """\
# The Embedder, field by field

<!-- Written by `python -m smart_embedder_operator.reference`; not by hand. -->

An Embedder is one endpoint for embeddings and reranking inside your cluster: its pods, its
Service, its scaling and its status. The same words are at hand in a terminal:

```sh
kubectl explain embedder.spec.autoscaling
smart-embedder-operator render -f embedder.yaml   # every object it becomes, without a cluster
```

The smallest one names a model; everything else has a default that suits it.

```yaml
apiVersion: smart-embedder.io/v1alpha1
kind: Embedder
metadata:
  name: search
spec:
  models:
    embedding: BAAI/bge-m3
```

More to start from stands in [examples](../examples).
"""

_STATUS_HEAD = """\
## status

Written by the operator, computed from live state each time, so that nothing it says outlives its
cause. `kubectl wait --for=condition=Ready embedder/search` waits until the spec is met.

| Condition | True means |
| --- | --- |
| `Ready` | the models and settings that were asked for are served, by one pod or more |
| `Available` | some pod behind the Service answers, also during a rollout |
| `Progressing` | a rollout, a migration or a start is on its way; the reason says which |
| `Degraded` | something is wrong; the reason and the message say what, and what to do |
| `ModelCached` | the prewarm Job has filled the cache (only with `cache.prewarm`) |
| `AutoscalerReady` | the autoscaler reads its metric (only with mode HPA or KEDA) |
| `MonitoringReady` | a ServiceMonitor points Prometheus at the pods |
"""

_REASONS_HEAD = """\
## Reasons

The closed list of causes. Two faults at once are both told: the first gives the reason, the message
has them all. [Troubleshooting](troubleshooting.md) has more on each.

| Reason | What to do |
| --- | --- |
"""


def page() -> str:
    """The whole page."""
    root = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return "\n".join(
        [
            _HEAD,
            *_sections(root["spec"]),
            _STATUS_HEAD,
            *_table(root["status"], ""),
            _REASONS_HEAD + "\n".join(_reasons()),
            "",
        ]
    )


def _sections(spec: Schema) -> Iterator[str]:
    for name, field in spec["properties"].items():
        yield f"## spec.{name}\n"
        yield f"{field['description']}\n"
        if "properties" in field:
            yield from _table(field, name)
        elif "items" in field:
            yield from _table(field["items"], f"{name}[]")
        yield from _rules(field)
    yield "## Between fields\n"
    yield from _rules(spec)


def _rules(within: Schema) -> Iterator[str]:
    """What must hold, as the API server would say it."""
    rules = [rule["message"] for rule in within.get("x-kubernetes-validations", ())]
    if rules:
        yield "Refused with these words when it does not hold:\n"
        yield from (f"- {message}" for message in rules)
        yield ""


def _table(within: Schema, path: str) -> Iterator[str]:
    yield "| Field | Type | Meaning |"
    yield "| --- | --- | --- |"
    yield from _rows(within, path)
    yield ""


def _rows(within: Schema, path: str) -> Iterator[str]:
    needed = within.get("required", ())
    for name, field in within.get("properties", {}).items():
        here = f"{path}.{name}".lstrip(".")
        mark = " (needed)" if name in needed else ""
        meaning = field["description"].replace("|", "\\|")
        yield f"| `{here}`{mark} | {_type(field)} | {meaning} |"
        yield from _rows(field, here)
        yield from _rows(field.get("items", {}), f"{here}[]")


def _type(field: Schema) -> str:
    match field:
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"x-kubernetes-int-or-string": True}:
            return "quantity"
        case {"type": "array"}:
            return f"list of {_type(field['items'])}"
        case {"additionalProperties": values}:
            return f"map to {_type(values)}"
        case {"type": "integer", "minimum": least, "maximum": most}:
            return f"{least} to {most}"
    written: str = field["type"]
    return written


def _reasons() -> Iterator[str]:
    for reason, advice in ADVICE.items():
        yield f"| [`{reason}`](troubleshooting.md#{reason.lower()}) | {advice} |"


if __name__ == "__main__":
    sys.stdout.write(page())
