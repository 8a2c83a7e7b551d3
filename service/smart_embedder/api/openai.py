"""OpenAI's embeddings and models, as its own clients and LangChain's speak them.

`input` may be a text, texts, token ids or lists of token ids; vectors go as numbers or base64. An
answer calls a model what its request called it.
"""

from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta

from smart_embedder.api.call import Call
from smart_embedder.api.dialect import Dialect, Endpoint, Problem
from smart_embedder.api.encoding import VectorOrBase64, base64_floats, numbers
from smart_embedder.api.inputs import Inputs, check_count, texts_of
from smart_embedder.errors import EmptyInput, InvalidInput
from smart_embedder.models.model import Card, Output, Text
from smart_embedder.scheduling.observer import Kind
from smart_embedder.settings import Settings


class ErrorDetail(msgspec.Struct):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(msgspec.Struct):
    """The error body that OpenAI's clients parse."""

    error: ErrorDetail

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Shape a problem; the type follows OpenAI's own words for each status."""
        return cls(
            ErrorDetail(problem.sentence, _kind(problem.status), problem.field, problem.code)
        )


def _kind(status: int) -> str:
    named = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    return named.get(status, "server_error" if status >= 500 else "invalid_request_error")


OPENAI = Dialect(name="OpenAI", error=OpenAIError)


class EmbeddingsRequest(msgspec.Struct):
    """Texts to embed."""

    input: Inputs
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    user: str | None = None


class Embedding(msgspec.Struct, tag_field="object", tag="embedding"):
    """One text's vector."""

    index: int
    embedding: VectorOrBase64


class Usage(msgspec.Struct):
    """What was read."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int | None = None


class EmbeddingsResponse(msgspec.Struct, tag_field="object", tag="list"):
    """The vectors, in the order of the texts."""

    data: list[Embedding]
    model: str
    usage: Usage


class Model(msgspec.Struct, tag_field="object", tag="model"):
    """A served model."""

    id: str
    created: int
    owned_by: str
    dimensions: int
    capabilities: list[str]
    max_tokens: int
    fingerprint: str


class Models(msgspec.Struct, tag_field="object", tag="list"):
    """Every served model."""

    data: list[Model]


async def embed(body: EmbeddingsRequest, call: Call) -> EmbeddingsResponse:
    """Answer POST /v1/embeddings."""
    texts = texts_of(body.input, "input")
    _check(texts, call.settings)
    found = await call.embed(
        texts,
        field="input",
        model=body.model,
        dimensions=body.dimensions,
        prompt=call.settings.default_prompt,
    )
    shape = base64_floats if body.encoding_format == "base64" else numbers
    tokens = sum(found.tokens)
    return EmbeddingsResponse(
        data=[Embedding(index, shape(row)) for index, row in enumerate(found.dense_rows)],
        model=body.model or found.cards[Output.DENSE].name,
        usage=Usage(tokens, tokens),
    )


async def list_models(_: None, call: Call) -> Models:
    """Answer GET /v1/models: every model, then the aliases that were set for some of them."""
    served = {card.name: card for card in call.engine.models} | call.engine.aliases
    return Models([_model(name, card) for name, card in served.items()])


async def show_model(_: None, call: Call) -> Model:
    """Answer GET /v1/models/{id}; an id may hold slashes."""
    name = call.params["model"].lstrip("/")
    return _model(name, call.engine.lookup(name))


def _model(name: str, card: Card) -> Model:
    return Model(
        id=name,
        created=0,
        owned_by=card.name.partition("/")[0],
        dimensions=card.dimensions,
        capabilities=[str(output.name).lower() for output in card.outputs],
        max_tokens=card.max_tokens,
        fingerprint=card.fingerprint,
    )


def _check(texts: list[Text], settings: Settings) -> None:
    check_count(texts, settings.max_batch_size, "input")
    longest = settings.max_text_chars
    for index, text in enumerate(texts):
        if not text:
            raise EmptyInput("a text is empty", field="input", index=index)
        if longest and isinstance(text, str) and len(text) > longest:
            raise InvalidInput(
                f"a text has {len(text)} characters, {longest} are taken (MAX_TEXT_CHARS)",
                field="input",
                index=index,
                limit=longest,
                value=len(text),
            )


ENDPOINTS = (
    Endpoint(
        dialect=OPENAI,
        paths=("/v1/embeddings", "/embeddings"),
        keys=frozenset({"input"}),
        handle=embed,
        kind=Kind.EMBED,
        body=EmbeddingsRequest,
        answer=EmbeddingsResponse,
        summary="Embed texts",
    ),
    Endpoint(
        dialect=OPENAI,
        paths=("/v1/models",),
        handle=list_models,
        kind=None,
        answer=Models,
        summary="List the served models",
    ),
    Endpoint(
        dialect=OPENAI,
        paths=("/v1/models/{model:path}",),
        handle=show_model,
        kind=None,
        answer=Model,
        summary="Describe a served model",
    ),
)
