"""The API's pages for people, with assets of this machine: an air-gapped cluster sees them too.

The assets are those of the `offapi` package, read as files: importing it would build nine
megabytes of templates that are not needed.
"""

import functools
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from smart_embedder.api.call import Call
from smart_embedder.api.dialect import Reply
from smart_embedder.api.errors import NotFound

_TYPES = {"js": "text/javascript", "css": "text/css"}
_ASSETS = ("swagger_bundle.js", "swagger_style.css", "redoc.js")

_SWAGGER = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Smart Embedder</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="docs/assets/swagger_style.css"></head>
<body><div id="ui"></div>
<script src="docs/assets/swagger_bundle.js"></script>
<script>SwaggerUIBundle({url: "openapi.json", dom_id: "#ui", persistAuthorization: true})</script>
</body></html>
"""
_REDOC = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Smart Embedder</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body><redoc spec-url="openapi.json"></redoc>
<script type="module" src="docs/assets/redoc.js"></script></body></html>
"""


class Pages:
    """The document and the two readers of it."""

    def __init__(self, document: Callable[[], Mapping[str, Any]]) -> None:
        self._describe = document

    @functools.cached_property
    def _document(self) -> bytes:
        """Made when somebody first asks."""
        return msgspec.json.encode(self._describe())

    async def openapi(self, _: None, __: Call) -> Reply:
        """Answer GET /openapi.json."""
        return Reply(content=self._document)

    async def swagger(self, _: None, call: Call) -> Reply:
        """Answer GET /docs."""
        return _page(_SWAGGER, call)

    async def redoc(self, _: None, call: Call) -> Reply:
        """Answer GET /redoc."""
        return _page(_REDOC, call)

    async def asset(self, _: None, call: Call) -> Reply:
        """Answer GET /docs/assets/{name}."""
        name = call.params["name"]
        if name not in _ASSETS:
            raise NotFound(f"there is no asset {name!r}", field="name", value=name)
        return Reply(
            content=_read(name),
            media_type=_TYPES[name.rpartition(".")[2]],
            headers={"cache-control": "public, max-age=86400"},
        )


def _page(html: str, call: Call) -> Reply:
    """Give a page, whose addresses are relative so that it works behind any prefix.

    That needs its own address to end without a slash.
    """
    bare = call.path.rstrip("/")
    if bare != call.path:
        return Reply(content=b"", status=307, headers={"location": f"../{bare.rpartition('/')[2]}"})
    return Reply(content=html.encode(), media_type="text/html")


def _read(name: str) -> bytes:
    return (_folder() / name).read_bytes()


@functools.cache
def _folder() -> Path:
    spec = importlib.util.find_spec("offapi")
    assert spec is not None  # noqa: S101 - a dependency of the service
    assert spec.origin is not None  # noqa: S101 - it is a package with files
    return Path(spec.origin).parent
