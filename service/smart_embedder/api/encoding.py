"""From arrays and structs to the bytes of an answer, without a Python object for each number.

A struct's vector fields are `Vector`: raw JSON made straight from the array's memory.
"""

import base64
from typing import Annotated, Any

import msgspec
import numpy as np
import orjson

from smart_embedder.models.model import Floats

_NUMBERS: dict[str, Any] = {"type": "array", "items": {"type": "number"}}
_STRING: dict[str, Any] = {"type": "string"}

Vector = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=_NUMBERS)]
"""A row of numbers in JSON."""
Matrix = Annotated[
    msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "array", "items": _NUMBERS})
]
"""Rows of numbers in JSON."""
SparseWeights = Annotated[
    msgspec.Raw,
    msgspec.Meta(extra_json_schema={"type": "object", "additionalProperties": {"type": "number"}}),
]
"""Token ids with their weights in JSON."""
VectorOrBase64 = Annotated[
    msgspec.Raw | str, msgspec.Meta(extra_json_schema={"anyOf": [_NUMBERS, _STRING]})
]
"""A row of numbers, in JSON or packed."""
MatrixOrBase64 = Annotated[
    msgspec.Raw | list[str],
    msgspec.Meta(extra_json_schema={"type": "array", "items": {"anyOf": [_NUMBERS, _STRING]}}),
]
"""Rows of numbers, each in JSON or packed."""

_encoder = msgspec.json.Encoder()


def to_bytes(content: object) -> bytes:
    """Encode an answer."""
    return content if isinstance(content, bytes) else _encoder.encode(content)


def numbers(array: np.ndarray[Any, Any]) -> msgspec.Raw:
    """Write an array as JSON; float32 with its shortest digits that read back equal."""
    whole = np.ascontiguousarray(array)
    return msgspec.Raw(orjson.dumps(whole, option=orjson.OPT_SERIALIZE_NUMPY))


def base64_floats(array: Floats) -> str:
    """Write an array as base64 of little-endian float32, as OpenAI's clients read it."""
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f4").data).decode("ascii")


def weights(ids: np.ndarray[Any, Any], values: Floats) -> msgspec.Raw:
    """Write lexical weights as an object from token id to weight."""
    pairs = dict(zip(map(str, ids.tolist()), values, strict=True))
    return msgspec.Raw(orjson.dumps(pairs, option=orjson.OPT_SERIALIZE_NUMPY))
