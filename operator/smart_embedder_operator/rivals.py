"""Which Embedders ask for the same place on a Gateway, remembered from event to event."""

from smart_embedder_operator.kinds import Key
from smart_embedder_operator.kube import Manifest
from smart_embedder_operator.resources.route import Claim, claims


class Rivals:
    """Every Embedder's claims, so that a change of one is news to those it disputes with."""

    def __init__(self) -> None:
        """Nobody claims anything yet."""
        self._claims: dict[Key, frozenset[Claim]] = {}

    def note(self, key: Key, route: Manifest | None) -> set[Key]:
        """Remember what an Embedder asks for now; answer with the others whom the change meets."""
        before = self._claims.pop(key, frozenset())
        now = frozenset(claims(key[0], route or {}))
        met = {other for other, theirs in self._claims.items() if theirs & (before ^ now)}
        if now:
            self._claims[key] = now
        return met
