"""What clients send as their texts, and what they say of texts that are too long.

It owns the shapes that several dialects share and turns them into the engine's own words.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from smart_embedder.api.call import Call
from smart_embedder.errors import EmptyInput, InvalidInput
from smart_embedder.models.model import Output, Side, Text

Inputs = str | list[str | int | list[int]]
"""A text, the token ids of one text, or several of either."""

TokenIds = list[int | list[int]]
"""The token ids of one text or of several."""

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
AtLeastZero = Annotated[int, msgspec.Meta(ge=0)]

Direction = Literal["Right", "Left", "right", "left"]
"""The end of a long text that is lost, as the Hugging Face clients write it."""


def texts_of(given: Inputs | TokenIds, field: str) -> list[Text]:
    """Tell one text from many, and one list of token ids from many texts."""
    if isinstance(given, str):
        return [given]
    if not given:
        raise EmptyInput(f"{field} is empty", field=field)
    if all(isinstance(part, int) for part in given):
        return [[part for part in given if isinstance(part, int)]]
    return [_text(part, field, index) for index, part in enumerate(given)]


def _text(part: str | int | list[int], field: str, index: int) -> Text:
    if isinstance(part, int):
        raise InvalidInput(f"{field} mixes token ids and texts", field=field, index=index)
    return part


def side_of(direction: Direction) -> Side:
    """Translate the direction of truncation."""
    return "end" if direction.lower() == "right" else "start"


def check_count(things: Sequence[object], limit: int, field: str) -> None:
    """Refuse more than `limit` of them in one request."""
    if len(things) > limit:
        raise InvalidInput(
            f"{field} holds {len(things)}, at most {limit} are taken",
            field=field,
            limit=limit,
            value=len(things),
        )


def prompt_of(call: Call, name: str | None, output: Output = Output.DENSE) -> str | None:
    """Look a named prompt up: those that are set (PROMPTS), then those of the model itself.

    Without a name it is the one that is set for every text.
    """
    if name is None:
        return call.settings.default_prompt
    known = {**call.engine.lookup(None, output).prompts, **call.settings.prompts}
    if name not in known:
        raise InvalidInput(
            f"the model has no prompt {name!r}, nor has PROMPTS",
            field="prompt_name",
            limit=", ".join(known) or None,
            value=name,
        )
    return known[name]
