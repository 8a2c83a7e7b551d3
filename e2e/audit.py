"""The API server's audit log: who asked for what, when, and got which answer."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

WRITES = frozenset({"create", "patch", "update", "delete"})


@dataclass(frozen=True)
class Request:
    """A line of the log."""

    user: str
    verb: str
    resource: str
    namespace: str
    name: str
    subresource: str
    code: int
    at: float


class AuditLog:
    """The requests that were answered, oldest first."""

    def __init__(self, path: Path) -> None:
        """Read from a file that grows."""
        self._path = path

    def requests(self, user: str, since: float = 0.0) -> Iterator[Request]:
        """One user's requests after a moment."""
        with self._path.open() as lines:
            for line in lines:
                # The last line may be half written.
                if f'"{user}"' in line and line.endswith("\n"):
                    request = _request(json.loads(line))
                    if request.at >= since and request.user == user:
                        yield request

    def writes(self, user: str, since: float = 0.0) -> list[Request]:
        """What a user changed, its Lease aside."""
        return [
            request
            for request in self.requests(user, since)
            if request.verb in WRITES and request.code < 400 and request.resource != "leases"
        ]


def _request(entry: dict[str, Any]) -> Request:
    subject = entry.get("objectRef") or {}
    return Request(
        user=entry["user"]["username"],
        verb=entry["verb"],
        resource=subject.get("resource", ""),
        namespace=subject.get("namespace", ""),
        name=subject.get("name", ""),
        subresource=subject.get("subresource", ""),
        code=(entry.get("responseStatus") or {}).get("code", 0),
        at=datetime.fromisoformat(entry["stageTimestamp"]).timestamp(),
    )
