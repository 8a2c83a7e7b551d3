"""From the bytes of a request to a struct, refusing what is no JSON, too large or misshapen.

It owns every refusal that a body can cause, whatever its dialect. Nothing here ever logs, and no
message repeats a text.
"""

import functools
import re
from typing import Any

import msgspec
from litestar import Request

from smart_embedder.api.errors import Malformed, TooLarge, WrongMediaType
from smart_embedder.errors import Cancelled, InvalidInput

_JSON = re.compile(r"application/(\w[\w.+-]*\+)?json\s*(;|$)", re.IGNORECASE)
_PLACE = re.compile(r"^(?P<what>.*) - at `(key in )?\$\.?(?P<place>[^`]*)`$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<name>[^`]+)`")


async def read_body(request: Request[Any, Any, Any], limit: int) -> bytes:
    """Read the whole body, never more than `limit` bytes of it."""
    _check_media_type(request)
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(int(announced), limit)
    body = bytearray()
    more = True
    while more:
        event = await request.receive()
        if event["type"] != "http.request":
            raise Cancelled("the client went away while sending")
        body += event["body"]
        if len(body) > limit:
            raise _too_large(len(body), limit)
        more = event["more_body"]
    return bytes(body)


def decode(body: bytes, kind: Any) -> Any:
    """Turn bytes into a struct; an error names the field and what was expected there."""
    try:
        return _decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(error) from None


def fields(body: bytes) -> dict[str, msgspec.Raw]:
    """Split an object into its fields without looking into them."""
    found: dict[str, msgspec.Raw] = decode(body, dict[str, msgspec.Raw])
    return found


@functools.cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _check_media_type(request: Request[Any, Any, Any]) -> None:
    media_type = request.headers.get("content-type")
    if media_type is not None and not _JSON.match(media_type):
        raise WrongMediaType(
            f"the body must be application/json, not {media_type}",
            field="Content-Type",
            limit="application/json",
            value=media_type,
        )
    coding = request.headers.get("content-encoding", "identity")
    if coding.lower() != "identity":
        raise WrongMediaType(
            f"the body must not be compressed ({coding})",
            field="Content-Encoding",
            limit="identity",
            value=coding,
        )


def _too_large(size: int, limit: int) -> TooLarge:
    return TooLarge(
        f"the body has {size} bytes or more, {limit} are taken (MAX_BODY_BYTES)",
        field="Content-Length",
        limit=limit,
        value=size,
    )


def _malformed(error: Exception) -> Malformed:
    if isinstance(error, RecursionError):
        return Malformed("the body is nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return Malformed("the body is not UTF-8")
    return Malformed(f"the body is not JSON: {error}")


def _invalid(message: str) -> InvalidInput:
    """Take msgspec's sentence apart: what is wrong, and where."""
    match = _PLACE.match(message)
    what, place = (match["what"], match["place"]) if match else (message, "")
    if missing := _MISSING.search(what):
        place = f"{place}.{missing['name']}".lstrip(".")
    where = f"{place}: " if place else "the body: "
    return InvalidInput(f"{where}{what[:1].lower()}{what[1:]}", field=place or None)
