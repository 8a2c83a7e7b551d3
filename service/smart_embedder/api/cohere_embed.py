"""Cohere's `/v1/embed` and `/v2/embed`: one call, several number formats.

The small formats are made for vectors that are compared by angle: int8 and uint8 scale each vector
by its own largest component; binary and ubinary keep one sign bit a dimension, the first in the
highest bit, as Cohere packs them.
"""

import uuid
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from smart_embedder.api.call import Call
from smart_embedder.api.cohere import (
    COHERE,
    ApiVersion,
    BilledUnits,
    InputTokens,
    Meta,
    Version,
    warning,
)
from smart_embedder.api.dialect import Endpoint
from smart_embedder.api.encoding import base64_floats, numbers
from smart_embedder.api.inputs import AtLeastOne, check_count
from smart_embedder.errors import EmptyInput, InvalidInput
from smart_embedder.models.model import Floats
from smart_embedder.results import Embeddings
from smart_embedder.scheduling.observer import Kind
from smart_embedder.settings import Settings

EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]


_MATRIX = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
_STRINGS = {"type": "array", "items": {"type": "string"}}
EMBEDDINGS = msgspec.Meta(
    extra_json_schema={
        "anyOf": [
            _MATRIX,
            {"type": "object", "additionalProperties": {"anyOf": [_MATRIX, _STRINGS]}},
        ]
    }
)
"""A list of vectors, or such a list for each format."""


class CohereEmbedContent(msgspec.Struct):
    """A part of an input; only text is read."""

    type: Literal["text"]
    text: str


class CohereEmbedInput(msgspec.Struct):
    """One input in its long form."""

    content: list[CohereEmbedContent]


class CohereEmbedV1Request(msgspec.Struct):
    """Texts to embed."""

    texts: list[str] | None = None
    images: list[str] | None = None
    model: str | None = None
    input_type: str | None = None
    embedding_types: list[EmbeddingType] | None = None
    truncate: Literal["NONE", "START", "END"] = "END"


class CohereEmbedV2Request(CohereEmbedV1Request):
    """Texts to embed, with the newer fields."""

    inputs: list[CohereEmbedInput] | None = None
    max_tokens: AtLeastOne | None = None
    output_dimension: AtLeastOne | None = None


class CohereEmbedResponse(msgspec.Struct):
    """The vectors, in the order of the texts."""

    response_type: Literal["embeddings_by_type", "embeddings_floats"]
    id: str
    embeddings: Annotated[dict[str, msgspec.Raw | list[str]] | msgspec.Raw, EMBEDDINGS]
    texts: list[str]
    meta: Meta


async def embed_v1(body: CohereEmbedV1Request, call: Call) -> CohereEmbedResponse:
    """Answer POST /v1/embed: a plain list of vectors unless formats are named."""
    texts = _texts(body, None)
    found = await _embed(body, texts, call)
    return _response("1", texts, found, body.embedding_types)


async def embed_v2(body: CohereEmbedV2Request, call: Call) -> CohereEmbedResponse:
    """Answer POST /v2/embed."""
    texts = _texts(body, body.inputs)
    found = await _embed(
        body, texts, call, max_tokens=body.max_tokens, dimensions=body.output_dimension
    )
    return _response("2", texts, found, body.embedding_types or ["float"])


def _texts(body: CohereEmbedV1Request, inputs: list[CohereEmbedInput] | None) -> list[str]:
    if body.images:
        raise InvalidInput("images cannot be embedded here", field="images")
    if body.texts is not None and inputs is not None:
        raise InvalidInput("give either texts or inputs", field="inputs")
    if inputs is not None:
        return ["\n".join(part.text for part in item.content) for item in inputs]
    if not body.texts:
        raise EmptyInput("texts is empty", field="texts")
    return body.texts


async def _embed(
    body: CohereEmbedV1Request,
    texts: list[str],
    call: Call,
    *,
    max_tokens: int | None = None,
    dimensions: int | None = None,
) -> Embeddings:
    check_count(texts, call.settings.max_batch_size, "texts")
    return await call.embed(
        texts,
        field="texts",
        model=body.model,
        truncate=body.truncate != "NONE",
        truncation_side="start" if body.truncate == "START" else "end",
        prompt=_prompt(call.settings, body.input_type),
        max_tokens=max_tokens,
        dimensions=dimensions,
    )


def _prompt(settings: Settings, input_type: str | None) -> str | None:
    """A prompt may be set for an input type; most models need none."""
    return settings.prompts.get(input_type or "", settings.default_prompt)


def _response(
    version: Version, texts: list[str], found: Embeddings, kinds: list[EmbeddingType] | None
) -> CohereEmbedResponse:
    rows, tokens = found.dense_rows, sum(found.tokens)
    return CohereEmbedResponse(
        response_type="embeddings_by_type" if kinds else "embeddings_floats",
        id=str(uuid.uuid4()),
        embeddings={kind: FORMATS[kind](rows) for kind in kinds} if kinds else numbers(rows),
        texts=texts,
        meta=Meta(
            ApiVersion(version),
            BilledUnits(input_tokens=tokens),
            InputTokens(tokens),
            [warning(cut, "texts") for cut in found.truncations],
        ),
    )


def _bytes(rows: Floats) -> npt.NDArray[np.int8]:
    """Scale each row's largest component to 127."""
    largest = np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    whole: npt.NDArray[np.int8] = np.rint(rows / largest * 127).astype(np.int8)
    return whole


def _bits(rows: Floats) -> npt.NDArray[np.uint8]:
    """Pack the signs."""
    return np.packbits(rows >= 0, axis=1)


def _shifted(whole: npt.NDArray[np.int8] | npt.NDArray[np.uint8]) -> npt.NDArray[np.generic]:
    """Move signed bytes up by 128, or unsigned ones down: the highest bit says which half."""
    other = np.uint8 if whole.dtype == np.int8 else np.int8
    return (whole.view(np.uint8) ^ 0x80).view(other)


FORMATS: dict[EmbeddingType, Callable[[Floats], msgspec.Raw | list[str]]] = {
    "float": numbers,
    "int8": lambda rows: numbers(_bytes(rows)),
    "uint8": lambda rows: numbers(_shifted(_bytes(rows))),
    "binary": lambda rows: numbers(_shifted(_bits(rows))),
    "ubinary": lambda rows: numbers(_bits(rows)),
    "base64": lambda rows: [base64_floats(row) for row in rows],
}

ENDPOINTS = (
    Endpoint(
        dialect=COHERE,
        paths=("/v1/embed",),
        handle=embed_v1,
        kind=Kind.EMBED,
        body=CohereEmbedV1Request,
        answer=CohereEmbedResponse,
        summary="Embed texts",
    ),
    Endpoint(
        dialect=COHERE,
        paths=("/v2/embed",),
        handle=embed_v2,
        kind=Kind.EMBED,
        body=CohereEmbedV2Request,
        answer=CohereEmbedResponse,
        summary="Embed texts in several formats",
    ),
)
