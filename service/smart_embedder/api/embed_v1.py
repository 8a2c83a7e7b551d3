"""/api/v1/embed: TEI's request with OpenAI's answer and the time of each stage in words."""

from typing import Annotated, Self

import msgspec
from msgspec import Meta

from smart_embedder.api.call import Call
from smart_embedder.api.dialect import Dialect, Endpoint, Problem
from smart_embedder.api.encoding import Vector, numbers
from smart_embedder.api.inputs import (
    Direction,
    Inputs,
    check_count,
    prompt_of,
    side_of,
    texts_of,
)
from smart_embedder.errors import InvalidInput
from smart_embedder.scheduling.observer import Kind


class EmbedV1Error(msgspec.Struct):
    """What went wrong; `error_type` is stable."""

    error: str
    error_type: str

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Shape a problem."""
        return cls(problem.sentence, problem.code)


EMBED_V1 = Dialect(name="/api/v1/embed", error=EmbedV1Error, statuses={InvalidInput: 422})


class EmbedV1Request(msgspec.Struct):
    """Texts to embed."""

    inputs: Inputs
    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    prompt_name: str | None = None
    normalize: bool = True
    dimensions: Annotated[int, Meta(ge=1)] | None = None


class EmbedV1Item(msgspec.Struct):
    """One text's vector."""

    embedding: Vector
    index: int


class EmbedV1Usage(msgspec.Struct):
    """What was read."""

    prompt_tokens: int
    total_tokens: int


class EmbedV1Timings(msgspec.Struct):
    """How long each stage took, such as 120µs or 35ms."""

    tokenization: str
    queue: str
    inference: str


class EmbedV1Response(msgspec.Struct):
    """The vectors, in the order of the texts."""

    data: list[EmbedV1Item]
    usage: EmbedV1Usage
    timings: EmbedV1Timings


async def embed(body: EmbedV1Request, call: Call) -> EmbedV1Response:
    """Answer POST /api/v1/embed."""
    texts = texts_of(body.inputs, "inputs")
    check_count(texts, call.settings.max_client_batch_size, "inputs")
    found = await call.embed(
        texts,
        field="inputs",
        truncate=body.truncate is not False,
        truncation_side=side_of(body.truncation_direction),
        prompt=prompt_of(call, body.prompt_name),
        normalize=body.normalize,
        dimensions=body.dimensions,
    )
    tokens = sum(found.tokens)
    return EmbedV1Response(
        data=[EmbedV1Item(numbers(row), index) for index, row in enumerate(found.dense_rows)],
        usage=EmbedV1Usage(tokens, tokens),
        timings=EmbedV1Timings(
            tokenization=in_words(found.timings.tokenize),
            queue=in_words(found.timings.queue),
            inference=in_words(found.timings.inference),
        ),
    )


def in_words(seconds: float) -> str:
    """Write a duration with three digits and the unit that fits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g}{unit}"
    return f"{seconds * 1e6:.0f}µs"


ENDPOINTS = (
    Endpoint(
        dialect=EMBED_V1,
        paths=("/api/v1/embed",),
        handle=embed,
        kind=Kind.EMBED,
        body=EmbedV1Request,
        answer=EmbedV1Response,
        summary="Embed texts, with the time of each stage",
    ),
)
