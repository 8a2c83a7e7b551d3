"""The vocabulary of the spec: bounded types, the words beside a field, and rules between fields.

Bounds are not decoration: the API server refuses CEL rules whose cost it cannot bound, and an
unbounded list in one Embedder would cost every reconcile. Knows nothing of any one field.
"""

from collections.abc import Callable
from typing import Annotated, Any

from msgspec import Meta, Struct

Pattern = str

DNS_LABEL: Pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN: Pattern = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"
HOSTNAME: Pattern = r"^(\*\.)?[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"
QUANTITY: Pattern = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][-+]?[0-9]+)?$"
URL: Pattern = "^https?://[^ ]+$"
ENV_NAME: Pattern = "^[A-Za-z_][A-Za-z0-9_]*$"


def says(description: str, *, preserve: bool = False) -> Meta:
    """The words `kubectl explain` shows; `preserve` keeps what the schema cannot name."""
    extra = {"x-kubernetes-preserve-unknown-fields": True} if preserve else None
    return Meta(description=description, extra_json_schema=extra)


class Rule(Struct, frozen=True):
    """One thing that must hold between fields: in CEL for the API server, in Python for us."""

    cel: str
    message: str
    holds: Callable[[Any], bool] | None = None
    """The same in Python; None for a rule about an edit, which only the API server sees."""


class Piece(
    Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """Any object within the spec: frozen, spelled in camelCase, closed to unknown fields."""


def rules_of(piece: object) -> tuple[Rule, ...]:
    """The rules that the piece's own class declares."""
    return getattr(type(piece), "rules", ())


Name = Annotated[str, Meta(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)]
Label = Annotated[str, Meta(min_length=1, max_length=63, pattern=DNS_LABEL)]
Key = Annotated[str, Meta(min_length=1, max_length=253)]
Text = Annotated[str, Meta(min_length=1, max_length=1024)]
Url = Annotated[str, Meta(min_length=1, max_length=1024, pattern=URL)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=0, le=1000)]
Seconds = Annotated[int, Meta(ge=0, le=86400)]
Quantity = int | Annotated[str, Meta(max_length=32, pattern=QUANTITY)]
Value = Annotated[str, Meta(max_length=32768)]
Metadata = Annotated[dict[Key, Annotated[str, Meta(max_length=4096)]], Meta(max_length=64)]
Selector = Annotated[dict[Key, Annotated[str, Meta(max_length=63)]], Meta(max_length=32)]
Quantities = Annotated[dict[Key, Quantity], Meta(max_length=32)]
Open = dict[str, Any]
"""An object of Kubernetes' own, passed on as it is written."""
