"""The CustomResourceDefinition, generated from `spec`. Pure.

The schema is structural, every list and string in it is bounded, and it holds no defaults: the
operator alone decides what unset means, so an upgrade of the CRD changes no stored Embedder.
"""

from typing import Any

from msgspec import inspect

from smart_embedder_operator.spec import GROUP, KIND, PLURAL, VERSION, Spec
from smart_embedder_operator.spec.embedder import LONGEST_NAME
from smart_embedder_operator.spec.fields import QUANTITY, Rule
from smart_embedder_operator.spec.parse import NAME_MESSAGE, NAME_PATTERN
from smart_embedder_operator.status_schema import STATUS_SCHEMA

Schema = dict[str, Any]

_COLUMNS = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 0),
    ("Models", "string", ".status.models", 0),
    ("Replicas", "integer", ".status.replicas", 0),
    ("Queue", "integer", ".status.queueDepth", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Endpoint", "string", ".status.endpoint", 1),
)


def crd() -> Schema:
    """The whole CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["emb"],
                "categories": ["ml"],
            },
            "versions": [_version()],
        },
    }


def _version() -> Schema:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, "priority": priority}
            for name, kind, path, priority in _COLUMNS
        ],
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "schema": {"openAPIV3Schema": _root()},
    }


def _root() -> Schema:
    name = Rule(
        cel=f"self.metadata.name.size() <= {LONGEST_NAME} && "
        f"self.metadata.name.matches('{NAME_PATTERN}')",
        message=NAME_MESSAGE,
    )
    return {
        "type": "object",
        "description": (
            "An Embedder is one endpoint for embeddings and reranking inside this cluster: its "
            "pods, its Service, its scaling and its honest status."
        ),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": {**schema_of(Spec), "description": "What is wanted."},
            "status": STATUS_SCHEMA,
        },
        "x-kubernetes-validations": [_validation(name)],
    }


def schema_of(type_: object) -> Schema:
    """The structural schema of a type of `spec`."""
    return _schema(inspect.type_info(type_))


def _validation(rule: Rule) -> Schema:
    return {"rule": rule.cel, "message": rule.message}


def _schema(kind: inspect.Type) -> Schema:
    match kind:
        case inspect.Metadata():
            return {**_schema(kind.type), **(kind.extra_json_schema or {})}
        case inspect.StructType():
            return _struct(kind)
        case inspect.UnionType():
            return _union(kind)
        case inspect.VarTupleType():
            bounds = _bounds(minItems=kind.min_length, maxItems=kind.max_length)
            return {"type": "array", "items": _schema(kind.item_type), **bounds}
        case inspect.DictType():
            return _map(kind)
    return _scalar(kind)


def _scalar(kind: inspect.Type) -> Schema:
    match kind:
        case inspect.LiteralType():
            return {"type": "string", "enum": [str(value) for value in kind.values]}
        case inspect.StrType():
            lengths = _bounds(minLength=kind.min_length, maxLength=kind.max_length)
            return {"type": "string", **lengths, **_bounds(pattern=kind.pattern)}
        case inspect.IntType():
            return {"type": "integer", **_bounds(minimum=kind.ge, maximum=kind.le)}
        case inspect.FloatType():
            return {"type": "number", **_bounds(minimum=kind.ge, maximum=kind.le)}
        case inspect.BoolType():
            return {"type": "boolean"}
    raise TypeError(f"the spec uses {kind}, which has no place in a CRD")


def _bounds(**limits: object) -> Schema:
    return {name: limit for name, limit in limits.items() if limit is not None}


def _union(kind: inspect.UnionType) -> Schema:
    """An optional value, or a quantity, which may be written as a number or as text."""
    types = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
    if len(types) == 1:
        return _schema(types[0])
    return {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
        "pattern": QUANTITY,
    }


def _map(kind: inspect.DictType) -> Schema:
    if isinstance(kind.value_type, inspect.AnyType):
        return {"type": "object"}  # its field says x-kubernetes-preserve-unknown-fields
    values = _schema(kind.value_type)
    bounds = _bounds(maxProperties=kind.max_length)
    return {"type": "object", "additionalProperties": values, **bounds}


def _struct(kind: inspect.StructType) -> Schema:
    rules: tuple[Rule, ...] = getattr(kind.cls, "rules", ())
    written: Schema = {
        "type": "object",
        "properties": {field.encode_name: _field(field) for field in kind.fields},
    }
    if required := [field.encode_name for field in kind.fields if field.required]:
        written["required"] = required
    if rules:
        written["x-kubernetes-validations"] = [_validation(rule) for rule in rules]
    return written


def _field(field: inspect.Field) -> Schema:
    """A field, its default told in words: the schema itself fills nothing in."""
    written = _schema(field.type)
    if isinstance(field.default, str | int | float):
        default = str(field.default).lower() if field.default in {True, False} else field.default
        written["description"] = f"{written['description']} Default: {default}."
    return written
