"""THE table from error class to status, and the refusals that only HTTP knows.

It owns which status an error has and how it becomes a dialect's body. A dialect departs from the
table only through its own `statuses`, and never for the refusals made before a body is read.
"""

import math
from collections.abc import Sequence

import msgspec

from smart_embedder.api.dialect import Dialect, Problem
from smart_embedder.errors import (
    Cancelled,
    DeadlineExceeded,
    EmbedderError,
    EncodingFailed,
    InvalidInput,
    ModelNotFound,
    Overloaded,
    StartupFailed,
    Unavailable,
)


class Refused(EmbedderError):
    """Refused before the body means anything; the status is the same in every dialect."""


class Malformed(Refused):
    """The body is not JSON."""

    code = "malformed_json"


class Unauthorized(Refused):
    """No token, or one that is not known."""

    code = "unauthorized"


class NotFound(Refused):
    """Nothing is served at this path."""

    code = "not_found"


class WrongMethod(Refused):
    """The path is served, with another method."""

    code = "method_not_allowed"


class TooLarge(Refused):
    """The body has more bytes than MAX_BODY_BYTES."""

    code = "body_too_large"


class WrongMediaType(Refused):
    """The body is not said to be JSON, or is compressed."""

    code = "unsupported_media_type"


class RateLimited(Refused):
    """This client has used its share; `retry_after` is what the seeds' clients expect."""

    code = "rate_limited"
    retry_after = 60.0


class Ambiguous(EmbedderError):
    """The fields fit none of the formats of this path, or several."""

    code = "ambiguous_body"


CLIENT_GONE = 499
"""Nobody reads it; logs and traces do (nginx's number)."""

STATUS: dict[type[EmbedderError], int] = {
    Malformed: 400,
    Unauthorized: 401,
    NotFound: 404,
    WrongMethod: 405,
    TooLarge: 413,
    WrongMediaType: 415,
    RateLimited: 429,
    Ambiguous: 422,
    InvalidInput: 400,
    ModelNotFound: 404,
    Overloaded: 429,
    Unavailable: 503,
    DeadlineExceeded: 504,
    Cancelled: CLIENT_GONE,
    EncodingFailed: 500,
    StartupFailed: 503,
    EmbedderError: 500,
}


def status_of(error: EmbedderError, dialects: Sequence[Dialect]) -> int:
    """Look the nearest class up, in the dialect's own table first where there is one dialect."""
    own = dialects[0].statuses if len(dialects) == 1 else {}
    for kind in type(error).__mro__:
        if (status := own.get(kind, STATUS.get(kind))) is not None:
            return status
    raise TypeError(f"{type(error)} is no error of ours")


def problem(error: EmbedderError, status: int) -> Problem:
    """Gather what an error body is made from; the field names the guilty text."""
    place = None if error.field is None else _place(error.field, error.index)
    return Problem(
        status=status,
        code=error.code,
        message=error.message,
        field=place,
        limit=error.limit,
        value=error.value,
    )


def error_body(found: Problem, dialects: Sequence[Dialect]) -> dict[str, object]:
    """Shape a problem so that a client of any of these dialects can read it."""
    body: dict[str, object] = {}
    for dialect in dialects:
        body = {**msgspec.to_builtins(dialect.error.of(found)), **body}
    return body


def error_headers(error: EmbedderError) -> dict[str, str]:
    """Say when to come back, and how to be let in."""
    headers = {}
    if (seconds := getattr(error, "retry_after", None)) is not None:
        headers["retry-after"] = str(max(1, math.ceil(seconds)))
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return headers


def _place(field: str, index: int | None) -> str:
    return field if index is None else f"{field}[{index}]"
