"""The native format: dense, sparse and ColBERT vectors of sentences in one call, and reranking."""

from typing import Self

import msgspec

from smart_embedder.api.dialect import Dialect, Endpoint, Problem
from smart_embedder.errors import InvalidInput, Overloaded


class NativeError(msgspec.Struct, omit_defaults=True):
    """What went wrong; `code` is stable."""

    detail: str
    code: str
    field: str | None = None
    limit: float | str | None = None
    value: float | str | None = None

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Shape a problem."""
        value = problem.value if isinstance(problem.value, int | float | str) else None
        return cls(problem.message, problem.code, problem.field, problem.limit, value)


NATIVE = Dialect(name="native", error=NativeError, statuses={Overloaded: 503, InvalidInput: 422})

ENDPOINTS: tuple[Endpoint, ...] = ()
