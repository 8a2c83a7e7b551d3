"""Which models are served, under which names, and which one gives which output."""

from collections.abc import Mapping
from dataclasses import dataclass

from smart_embedder.errors import InvalidInput, ModelNotFound
from smart_embedder.models.model import Card, Output
from smart_embedder.options import EngineOptions

DEFAULT = "default"
"""The name that always works; no name at all means the same."""


@dataclass(frozen=True, slots=True)
class Route:
    """One model's part of a request."""

    name: str
    card: Card
    outputs: Output


def outputs_of(*, dense: bool, sparse: bool, colbert: bool) -> Output:
    """Turn a request's three switches into outputs; one of them must be on."""
    switches = {Output.DENSE: dense, Output.SPARSE: sparse, Output.COLBERT: colbert}
    wanted = Output.NONE
    for output, on in switches.items():
        wanted |= output if on else Output.NONE
    if not wanted:
        raise InvalidInput("ask for at least one of dense, sparse and colbert", field="dense")
    return wanted


class Roster:
    """The served models by name."""

    def __init__(self, options: EngineOptions, cards: Mapping[str, Card]) -> None:
        self._cards = dict(cards)
        self._names = _names(options, self._cards)
        self._defaults = _defaults(options)
        self.aliases = {
            alias: self._cards[self._names[alias.lower()]]
            for alias in options.aliases
            if alias.lower() in self._names
        }

    @property
    def cards(self) -> list[Card]:
        """Every served model, in the order of the settings."""
        return list(self._cards.values())

    def route(self, name: str | None, wanted: Output) -> list[Route]:
        """Say which models answer: the one named, or each output's default."""
        if name is not None and name.lower() != DEFAULT:
            return [self._named(name, wanted)]
        parts: dict[str, Output] = {}
        for output in wanted or Output.DENSE:
            served = self._defaults.get(output)
            if served is None:
                raise ModelNotFound(
                    f"no model is served that gives {_words(output)}", field="model", value=name
                )
            parts[served] = parts.get(served, Output.NONE) | output
        return [self._named(served, outputs) for served, outputs in parts.items()]

    def _named(self, name: str, wanted: Output) -> Route:
        served = self._names.get(name.lower())
        if served is None:
            raise ModelNotFound(
                f"model {name!r} is not served; there is {', '.join(self._cards) or 'none'}",
                field="model",
                value=name,
            )
        card = self._cards[served]
        if missing := wanted & ~card.outputs:
            raise InvalidInput(
                f"model {served!r} gives {_words(card.outputs)}, not {_words(missing)}",
                field="model",
                value=name,
            )
        return Route(served, card, wanted)


def _names(options: EngineOptions, cards: Mapping[str, Card]) -> dict[str, str]:
    """Full names, names without their organisation, and the aliases, which win."""
    names = {name.rpartition("/")[2].lower(): name for name in cards}
    names |= {card.name.lower(): name for name, card in cards.items()}
    names |= {name.lower(): name for name in cards}
    aliases = {alias.lower(): name.lower() for alias, name in options.aliases.items()}
    return names | {alias: names[name] for alias, name in aliases.items() if name in names}


def _defaults(options: EngineOptions) -> dict[Output, str]:
    """The model of each output when a request names none."""
    dense = options.dense or options.embedding
    found: dict[Output, str] = {}
    if dense:
        found[Output.DENSE] = dense.name
    if options.embedding:
        found[Output.SPARSE] = found[Output.COLBERT] = options.embedding.name
    if options.reranker:
        found[Output.SCORE] = options.reranker.name
    return found


def _words(outputs: Output) -> str:
    return " and ".join(str(output.name).lower() for output in outputs) or "nothing"
