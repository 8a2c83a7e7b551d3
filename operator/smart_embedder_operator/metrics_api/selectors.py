"""Label selectors as the API spells them, and whether a set of labels matches one.

The HPA sends its Deployment's selector as text: `a=b,c in (d,e),!f`. Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SET = re.compile(r"([\w./-]+)\s+(in|notin)\s+\(([^()]*)\)")
_EQUAL = re.compile(r"([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)")
_EXISTS = re.compile(r"(!?)\s*([\w./-]+)")
_COMMA = re.compile(r",(?![^(]*\))")  # not the commas between parentheses


class BadSelector(ValueError):
    """A selector that is not written as the API writes them."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term: the label's value must, or must not, be among these; None is any value."""

    label: str
    values: frozenset[str] | None
    wanted: bool

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels satisfy the term; an absent label satisfies every `not`."""
        value = labels.get(self.label)
        found = value is not None and (self.values is None or value in self.values)
        return found == self.wanted


def parse_selector(text: str) -> tuple[Requirement, ...]:
    """Read a selector; an empty one has no terms and matches everything."""
    return tuple(_requirement(term.strip()) for term in _COMMA.split(text) if term.strip())


def matches(selector: tuple[Requirement, ...], labels: Mapping[str, str]) -> bool:
    """Whether the labels satisfy every term."""
    return all(term.holds(labels) for term in selector)


def _requirement(term: str) -> Requirement:
    if found := _SET.fullmatch(term):
        values = frozenset(part.strip() for part in found[3].split(","))
        return Requirement(found[1], values, wanted=found[2] == "in")
    if found := _EQUAL.fullmatch(term):
        return Requirement(found[1], frozenset({found[3]}), wanted=found[2] != "!=")
    if found := _EXISTS.fullmatch(term):
        return Requirement(found[2], None, wanted=not found[1])
    raise BadSelector(f"{term!r} is not a label selector")
