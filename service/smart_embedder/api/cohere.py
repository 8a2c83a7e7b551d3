"""What Cohere's embed and rerank have in common: how they say no, and what they tell of a call."""

from typing import Literal, Self

import msgspec

from smart_embedder.api.dialect import Dialect, Problem
from smart_embedder.results import TextTruncation

Version = Literal["1", "2"]


class CohereError(msgspec.Struct):
    """What Cohere's clients read as an error."""

    message: str
    code: str

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Shape a problem."""
        return cls(problem.sentence, problem.code)


COHERE = Dialect(name="Cohere, Jina", error=CohereError)


class ApiVersion(msgspec.Struct):
    """Which of Cohere's interfaces this is."""

    version: Version
    is_experimental: bool = False


class BilledUnits(msgspec.Struct, omit_defaults=True):
    """What Cohere would count."""

    search_units: int | None = None
    input_tokens: int | None = None


class InputTokens(msgspec.Struct):
    """What was read."""

    input_tokens: int


class Meta(msgspec.Struct):
    """What Cohere's clients find beside the results."""

    api_version: ApiVersion
    billed_units: BilledUnits
    tokens: InputTokens
    warnings: list[str]


def warning(cut: TextTruncation, field: str) -> str:
    """Say which text lost how much."""
    what = "query" if cut.part == "query" else f"{field}[{cut.index}]"
    return f"{what} was cut from {cut.original} to {cut.kept} tokens"
