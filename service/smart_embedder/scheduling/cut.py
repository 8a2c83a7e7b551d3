"""The cut of a batch: which waiting texts go into the next pass. One pure function.

It knows no clock, no thread and no device: piles of waiting texts go in, slices of piles come out.
Five rules, in this order:

1. Lanes. Interactive goes before bulk, but after `INTERACTIVE_PASSES` passes bulk has its turn.
2. Age. A pile that `PATIENCE` cuts have passed over goes first, the longest neglected before all.
3. Fairness. Otherwise the client whose next text would end earliest, had every client an equal
   share of the device: short texts before long ones, frugal clients before greedy ones.
4. Company. The pile that leads decides model and length; mates of its lane fill the budget, none
   so long that the leader would wait for it.
5. Haste. A bulk pass right after an interactive one is half as long: whoever has just been answered
   often asks again, and then waits for no more than that.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, TypeVar

from smart_embedder.scheduling.observer import Lane

Owner = TypeVar("Owner")
Client = tuple[Lane, str]

INTERACTIVE_PASSES = 4
"""Interactive passes in a row while bulk waits: bulk gets a fifth of the device at worst."""
PATIENCE = 16
"""Cuts a pile may be passed over: some seconds on a CPU, under one on a GPU."""
SHORT = 64
"""Texts up to this many tokens keep any text company."""
MATE_SHARE = 8
"""A mate of up to an eighth of the budget never makes a pass long."""


@dataclass(slots=True, eq=False)
class Pile(Generic[Owner]):
    """The waiting texts of one request for one model, shortest first."""

    owner: Owner
    model: str
    client: Client
    slots: list[int]
    """Where each text stands in its request."""
    lengths: list[int]
    ends: list[int]
    """Running totals of the lengths."""
    turn: int
    """The number of the cut since which it has been waiting."""
    since: float
    """The same on the clock, for whoever watches."""
    taken: int = 0

    @classmethod
    def of(
        cls,
        owner: Owner,
        model: str,
        client: Client,
        texts: Sequence[tuple[int, int]],
        *,
        turn: int = 0,
        since: float = 0.0,
    ) -> "Pile[Owner]":
        """Pile up texts, given as (tokens, slot)."""
        lengths, slots = (list(column) for column in zip(*sorted(texts), strict=True))
        return cls(owner, model, client, slots, lengths, list(accumulate(lengths)), turn, since)

    @property
    def lane(self) -> Lane:
        """Where its request waits."""
        return self.client[0]

    @property
    def waiting(self) -> int:
        """How many texts are left."""
        return len(self.slots) - self.taken

    def tokens(self, stop: int | None = None) -> int:
        """Tokens from the next text up to `stop`, or of all that are left."""
        before = self.ends[self.taken - 1] if self.taken else 0
        until = len(self.ends) if stop is None else stop
        return self.ends[until - 1] - before if until > self.taken else 0

    def fit(self, room: int, texts: int, longest: int) -> int:
        """Return where to stop: within the room, the number of texts and the longest allowed."""
        before = self.ends[self.taken - 1] if self.taken else 0
        by_room = bisect_right(self.ends, before + room, lo=self.taken)
        by_length = bisect_right(self.lengths, longest, lo=self.taken)
        return min(by_room, by_length, self.taken + texts)


@dataclass(frozen=True, slots=True)
class Slice(Generic[Owner]):
    """The next texts of one pile, up to `stop`."""

    pile: Pile[Owner]
    stop: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Cut(Generic[Owner]):
    """What goes into the next pass; the first slice leads."""

    model: str
    lane: Lane
    slices: list[Slice[Owner]]

    @property
    def tokens(self) -> int:
        """Of the whole pass."""
        return sum(part.tokens for part in self.slices)


def cut(
    piles: Sequence[Pile[Owner]],
    *,
    turn: int,
    interactive_run: int,
    served: Mapping[Client, float],
    budgets: Mapping[str, int],
    max_texts: int,
) -> Cut[Owner] | None:
    """Choose the texts of the next pass.

    Args:
        piles: Everything that waits; none of it is changed.
        turn: The number of this cut.
        interactive_run: Interactive passes in a row while bulk waited.
        served: Tokens each client was given, on the common scale of its lane.
        budgets: Tokens of one pass of each model; one longer text goes alone.
        max_texts: Texts of one pass.
    """
    lane = _lane(piles, interactive_run)

    def rank(pile: Pile[Owner]) -> tuple[bool, float, int]:
        aged = turn - pile.turn >= PATIENCE
        finish = served.get(pile.client, 0.0) + pile.lengths[pile.taken]
        return (not aged, pile.turn if aged else finish, pile.turn)

    order = sorted((pile for pile in piles if pile.lane is lane), key=rank)
    if not order:
        return None
    budget = budgets[order[0].model]
    hasty = lane is Lane.BULK and 0 < interactive_run < INTERACTIVE_PASSES
    return _fill(order, budget // 2 if hasty else budget, max_texts)


def _lane(piles: Sequence[Pile[Owner]], interactive_run: int) -> Lane:
    waiting = {pile.lane for pile in piles}
    bulk_turn = Lane.BULK in waiting and interactive_run >= INTERACTIVE_PASSES
    return Lane.BULK if bulk_turn or Lane.INTERACTIVE not in waiting else Lane.INTERACTIVE


def _fill(order: Sequence[Pile[Owner]], budget: int, max_texts: int) -> Cut[Owner]:
    lead = order[0]
    length = lead.lengths[lead.taken]
    longest = max(SHORT, length, budget // MATE_SHARE)
    room, texts = max(budget, length), max_texts
    slices: list[Slice[Owner]] = []
    for pile in order:
        if pile.model != lead.model:
            continue
        stop = pile.fit(room, texts, longest)
        if stop > pile.taken:
            slices.append(Slice(pile, stop, pile.tokens(stop)))
            room -= slices[-1].tokens
            texts -= stop - pile.taken
    return Cut(lead.model, lead.lane, slices)
