"""The OpenAPI document, made from the same table as the routes, so that it cannot lie.

Where several dialects share a path, body and answer are any of theirs.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from smart_embedder.api.dialect import Endpoint
from smart_embedder.api.dispatch import Path

Json = dict[str, Any]

_REF = "#/components/schemas/{name}"
_REFUSALS = {
    400: "The body is not JSON, or a value is wrong",
    401: "A bearer token is needed",
    404: "No such model",
    413: "The body is too large",
    415: "The body is not said to be JSON",
    422: "A value is wrong, or the fields fit no format of this path",
    424: "The forward pass failed",
    429: "Too many requests; Retry-After says when to come back",
    500: "The forward pass failed",
    503: "Starting, draining or full; Retry-After says when to come back",
    504: "The request's time is over",
}
_HEADERS = (
    ("X-Priority", {"enum": ["interactive", "bulk"]}, "Whether somebody waits for the answer"),
    ("X-Request-Id", {"type": "string", "maxLength": 128}, "Comes back with the answer"),
)
_DESCRIPTION = (
    "Any request may carry `X-Request-Timeout`: the seconds it has, REQUEST_TIMEOUT at most."
    " Answers name their vectors' fingerprint in `X-Vector-Fingerprint`: compare only vectors"
    " whose fingerprint is equal."
)


def document(paths: Sequence[Path], *, version: str, secured: bool) -> Json:
    """Describe every path.

    Args:
        paths: As they are served.
        version: Of the service.
        secured: Whether the protected endpoints show a lock.
    """
    schemas = _Schemas(endpoint for path in paths for endpoint in path.endpoints)
    found: dict[str, Json] = {}
    for path in paths:
        operations = found.setdefault(path.path.replace(":path}", "}"), {})
        operations[path.method.lower()] = _operation(path, schemas, secured=secured)
    components: Json = {"schemas": schemas.components}
    if secured:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Smart Embedder", "version": version, "description": _DESCRIPTION},
        "paths": found,
        "components": components,
    }


class _Schemas:
    """The JSON schemas of all bodies, answers and errors, each type once."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        kinds: list[Any] = []
        for endpoint in endpoints:
            kinds += [endpoint.body, endpoint.answer, endpoint.dialect.error]
        self._kinds = [kind for kind in dict.fromkeys(kinds) if kind is not None]
        self._found, self.components = msgspec.json.schema_components(
            self._kinds, ref_template=_REF
        )

    def any_of(self, kinds: Iterable[Any]) -> Json:
        """Return the schema of any of these types."""
        wanted = [self._found[self._kinds.index(kind)] for kind in dict.fromkeys(kinds)]
        return wanted[0] if len(wanted) == 1 else {"anyOf": wanted}


def _operation(path: Path, schemas: _Schemas, *, secured: bool) -> Json:
    first = path.endpoints[0]
    found: Json = {
        "operationId": _name(path),
        "summary": " · ".join(dict.fromkeys(e.summary for e in path.endpoints)),
        "tags": ["operations"] if first.public else [d.name for d in path.dialects],
        "parameters": _parameters(path),
        "responses": _responses(path, schemas),
    }
    if path.method == "POST":
        schema = schemas.any_of(e.body for e in path.endpoints)
        found["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    if secured and not first.public:
        found["security"] = [{"token": []}]
    return found


def _parameters(path: Path) -> list[Json]:
    names = re.findall(r"{(\w+)", path.path)
    found: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]
    if path.method == "POST":
        found += [
            {"name": name, "in": "header", "schema": schema, "description": text}
            for name, schema, text in _HEADERS
        ]
    return found


def _responses(path: Path, schemas: _Schemas) -> Json:
    first = path.endpoints[0]
    good = schemas.any_of(e.answer for e in path.endpoints)
    found: Json = {"200": _content("The answer", good, first.media_type)}
    if first.public:
        found["503"] = _content("Not now", good, first.media_type)
        return found
    bad = schemas.any_of(dialect.error for dialect in path.dialects)
    for status, text in _REFUSALS.items():
        found[str(status)] = _content(text, bad, "application/json")
    return found


def _content(text: str, schema: Json, media_type: str) -> Json:
    return {"description": text, "content": {media_type: {"schema": schema}}}


def _name(path: Path) -> str:
    words = re.findall(r"\w+", path.path.replace(":path", "")) or ["root"]
    return "_".join([path.method.lower(), *words])
