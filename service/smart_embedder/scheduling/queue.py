"""What waits, and how much each client has had. Applies the cut; knows nothing of devices."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Generic

from smart_embedder.scheduling.cut import Client, Cut, Owner, Pile, cut
from smart_embedder.scheduling.observer import Lane

REMEMBERED_CLIENTS = 1024
"""Idle clients beyond this many are forgotten as soon as that gives them no advantage."""


class Queue(Generic[Owner]):
    """The piles of waiting texts, at most one for each owner."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._piles: dict[Owner, Pile[Owner]] = {}
        self._turn = 0
        self._interactive_run = 0
        self._served: dict[Client, float] = {}
        self._reached = dict.fromkeys(Lane, 0.0)
        """Where each lane's common scale stands: what the last leader had had."""

    def __len__(self) -> int:
        """How many texts wait."""
        return sum(pile.waiting for pile in self._piles.values())

    @property
    def oldest_wait(self) -> float:
        """Seconds since the most neglected pile was given a place."""
        now = self._clock()
        return max((now - pile.since for pile in self._piles.values()), default=0.0)

    def push(
        self, owner: Owner, model: str, client: Client, texts: Sequence[tuple[int, int]]
    ) -> None:
        """Let texts wait, given as (tokens, slot); an owner pushes once."""
        if all(pile.client != client for pile in self._piles.values()):
            self._join(client)
        self._piles[owner] = Pile.of(
            owner, model, client, texts, turn=self._turn, since=self._clock()
        )

    def waiting(self, owner: Owner) -> list[int]:
        """The slots of this owner that no pass has taken."""
        pile = self._piles.get(owner)
        return pile.slots[pile.taken :] if pile else []

    def keep(self, owner: Owner, wanted: set[int]) -> None:
        """Forget the waiting texts of this owner that are not in `wanted`."""
        pile = self._piles.pop(owner, None)
        if pile is None:
            return
        left = zip(pile.lengths[pile.taken :], pile.slots[pile.taken :], strict=True)
        texts = [(length, slot) for length, slot in left if slot in wanted]
        if texts:
            self._piles[owner] = Pile.of(
                owner, pile.model, pile.client, texts, turn=pile.turn, since=pile.since
            )

    def take(self, budgets: Mapping[str, int], max_texts: int) -> list[tuple[Owner, list[int]]]:
        """Cut the next pass and take its texts out."""
        chosen = cut(
            list(self._piles.values()),
            turn=self._turn,
            interactive_run=self._interactive_run,
            served=self._served,
            budgets=budgets,
            max_texts=max_texts,
        )
        return self._apply(chosen) if chosen else []

    def _apply(self, chosen: Cut[Owner]) -> list[tuple[Owner, list[int]]]:
        self._reached[chosen.lane] = self._served.get(chosen.slices[0].pile.client, 0.0)
        self._turn += 1
        taken = []
        for part in chosen.slices:
            pile = part.pile
            taken.append((pile.owner, pile.slots[pile.taken : part.stop]))
            self._served[pile.client] = self._served.get(pile.client, 0.0) + part.tokens
            pile.taken, pile.turn, pile.since = part.stop, self._turn, self._clock()
            if not pile.waiting:
                del self._piles[pile.owner]
        self._count(chosen.lane)
        return taken

    def _count(self, lane: Lane) -> None:
        bulk_waits = any(pile.lane is Lane.BULK for pile in self._piles.values())
        passed_over = lane is Lane.INTERACTIVE and bulk_waits
        self._interactive_run = self._interactive_run + 1 if passed_over else 0

    def _join(self, client: Client) -> None:
        """Let a client start where its lane stands: idling earns no credit."""
        if len(self._served) >= REMEMBERED_CLIENTS:
            waiting = {pile.client for pile in self._piles.values()}
            self._served = {
                known: tokens
                for known, tokens in self._served.items()
                if known in waiting or tokens > self._reached[known[0]]
            }
        self._served[client] = max(self._served.get(client, 0.0), self._reached[client[0]])
