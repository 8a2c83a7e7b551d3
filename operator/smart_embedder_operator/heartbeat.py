"""Whether the watches are alive, proven with the changes that we know of without them.

Whatever we write comes back as an event, and what a list shows has been one; a watch that has not
told of a change after a while is no watch any more, however healthy everything looks. Costs no
request. Who changes and who watches, this file does not know.
"""

import math
import time
from collections.abc import Callable

from smart_embedder_operator.kube import Resource

# kopf opens a silent stream anew after 70 s, from where it was; twice that is lost.
OVERDUE_SECONDS = 150.0

Watch = tuple[Resource, str]
"""What one stream tells of: a kind, in one namespace where each has a watch of its own."""


class Heartbeat:
    """Notes changes made and events seen, watch by watch."""

    def __init__(
        self, *, by_namespace: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`by_namespace`: one namespace's events prove nothing of another's watch."""
        self.now = clock
        self._by_namespace = by_namespace
        self._expected_since: dict[Watch, float] = {}
        self._last_seen: dict[Watch, float] = {}

    def changed(self, resource: Resource, namespace: str, began: float) -> None:
        """An object of this kind has changed, so an event is due since we began to write or look.

        It may have overtaken the answer, and come already. A deletion is not told
        here: a watch that had to list anew shows what there is, and says nothing of what is gone.
        """
        watch = self._watch(resource, namespace)
        if self._last_seen.get(watch, -math.inf) < began:
            self._expected_since.setdefault(watch, began)

    def seen(self, resource: Resource, namespace: str) -> None:
        """An event of this kind has come."""
        watch = self._watch(resource, namespace)
        self._last_seen[watch] = self.now()
        self._expected_since.pop(watch, None)

    def overdue(self) -> tuple[Watch, ...]:
        """The watches whose events have been due for too long."""
        now = self.now()
        return tuple(
            watch for watch, since in self._expected_since.items() if now - since > OVERDUE_SECONDS
        )

    def _watch(self, resource: Resource, namespace: str) -> Watch:
        return resource, namespace if self._by_namespace else ""
