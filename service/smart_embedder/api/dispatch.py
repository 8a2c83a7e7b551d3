"""Which endpoint of a path a body is for.

Where several formats share a path, the fields of the body decide: the endpoint all of whose `keys`
are there; of two, the one whose keys include the other's (llama.cpp's `input` with `embd_normalize`
before OpenAI's `input`). None or several is an error for the client to mend, never a guess.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from smart_embedder.api.bodies import fields
from smart_embedder.api.dialect import Dialect, Endpoint
from smart_embedder.api.errors import Ambiguous
from smart_embedder.scheduling.observer import Kind


@dataclass(frozen=True, slots=True)
class Path:
    """A path and method with every endpoint that lives there."""

    path: str
    method: str
    endpoints: tuple[Endpoint, ...]

    @property
    def public(self) -> bool:
        """Whether it is answered to anybody in every state."""
        return all(endpoint.public for endpoint in self.endpoints)

    @property
    def kind(self) -> Kind | None:
        """What a request counts as whose body does not say: as the first endpoint's."""
        return self.endpoints[0].kind

    @property
    def dialects(self) -> tuple[Dialect, ...]:
        """Whose clients call this path, each once."""
        return tuple({e.dialect.name: e.dialect for e in self.endpoints}.values())

    def choose(self, body: bytes) -> Endpoint:
        """Say whose body this is."""
        if len(self.endpoints) == 1:
            return self.endpoints[0]
        return choose(self.endpoints, fields(body).keys())


def paths(endpoints: Iterable[Endpoint]) -> list[Path]:
    """Gather endpoints by path and method."""
    found: dict[tuple[str, str], list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        for path in endpoint.paths:
            found[path, endpoint.method].append(endpoint)
    return [Path(path, method, tuple(there)) for (path, method), there in found.items()]


def choose(endpoints: Sequence[Endpoint], present: Iterable[str]) -> Endpoint:
    """Return the one endpoint whose keys are all present."""
    names = frozenset(present)
    fitting = [endpoint for endpoint in endpoints if endpoint.keys <= names]
    best = [e for e in fitting if not any(e.keys < other.keys for other in fitting)]
    if len(best) == 1:
        return best[0]
    choices = " or ".join(_words(endpoint) for endpoint in endpoints)
    seen = ", ".join(sorted(names & _marks(endpoints))) or "none of them"
    raise Ambiguous(
        f"exactly one of these must be in the body: {choices}; there is {seen}",
        limit=choices,
        value=seen,
    )


def _marks(endpoints: Sequence[Endpoint]) -> frozenset[str]:
    return frozenset().union(*(endpoint.keys for endpoint in endpoints))


def _words(endpoint: Endpoint) -> str:
    return f"`{'` and `'.join(sorted(endpoint.keys))}` ({endpoint.dialect.name})"
