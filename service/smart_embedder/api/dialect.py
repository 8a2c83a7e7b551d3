"""What a dialect is made of: the words in which its file declares itself.

It owns the vocabulary (`Dialect`, `Endpoint`, `Problem`) and refuses to know how a request comes
in or which dialects there are.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

from smart_embedder.api.call import Call
from smart_embedder.errors import EmbedderError
from smart_embedder.scheduling.observer import Kind

JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An error on its way out: what every dialect's error body is made from."""

    status: int
    code: str
    message: str
    field: str | None = None
    limit: float | str | None = None
    value: object = None

    @property
    def sentence(self) -> str:
        """The message with its facts, for error bodies that have no other place for them."""
        text = self.message
        if self.field and self.field not in text:
            text = f"{self.field}: {text}"
        if self.limit is not None and str(self.limit) not in text:
            text = f"{text} (limit {self.limit})"
        return text


@runtime_checkable
class ErrorBody(Protocol):
    """A msgspec struct that a dialect's clients read as an error."""

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Shape a problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One wire format: what it calls itself, and how it says no."""

    name: str
    error: type[ErrorBody]
    statuses: Mapping[type[EmbedderError], int] = field(default_factory=dict)
    """Where this dialect departs from the table in `api.errors`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One thing a dialect's clients may ask for."""

    dialect: Dialect
    paths: tuple[str, ...]
    """Where it is found; a path may hold `{name}` or, over slashes, `{name:path}`."""
    handle: Callable[[Any, Call], Awaitable[object]]
    """Takes the decoded body (None for GET); gives a struct, a list of them, or a `Reply`."""
    body: Any = None
    """The type of the body; None makes it a GET."""
    kind: Kind | None
    """Whose request it is to whoever counts; None where nothing is embedded or ranked."""
    answer: Any = None
    """The type of the answer, for the OpenAPI document."""
    keys: frozenset[str] = frozenset()
    """The fields that mark a body as this endpoint's; read only where several share a path."""
    summary: str = ""
    public: bool = False
    """Needs no token, costs no share and is answered in every state of the process."""
    media_type: str = JSON

    @property
    def method(self) -> str:
        """GET without a body, POST with one."""
        return "GET" if self.body is None else "POST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that is more than its JSON."""

    content: object
    """A struct, or the bytes themselves."""
    status: int = 200
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
