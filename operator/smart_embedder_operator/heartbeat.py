"""Whether the watches are alive, proven with our own writes.

Whatever we change comes back as an event; a kind whose change has not come back after a while is
watched by nobody any more, however healthy everything looks. Costs no request. Who changes and
who watches, this file does not know.
"""

import math
import time
from collections.abc import Callable

from smart_embedder_operator.kube import Resource

# kopf opens a silent stream anew after 70 s and lists everything when it does; twice that is lost.
OVERDUE_SECONDS = 150.0


class Heartbeat:
    """Notes changes made and events seen, kind by kind."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.now = clock
        self._expected_since: dict[Resource, float] = {}
        self._last_seen: dict[Resource, float] = {}

    def changed(self, resource: Resource, began: float) -> None:
        """We changed an object of this kind, so an event is due since we began.

        It may have overtaken the answer to the change, and come already.
        """
        if self._last_seen.get(resource, -math.inf) < began:
            self._expected_since.setdefault(resource, began)

    def seen(self, resource: Resource) -> None:
        """An event of this kind has come."""
        self._last_seen[resource] = self.now()
        self._expected_since.pop(resource, None)

    def overdue(self) -> tuple[Resource, ...]:
        """The kinds whose events have been due for too long."""
        now = self.now()
        return tuple(
            resource
            for resource, since in self._expected_since.items()
            if now - since > OVERDUE_SECONDS
        )
