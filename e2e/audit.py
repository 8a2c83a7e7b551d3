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
    replicas: int | None
    """The number of pods that a Deployment asks for from then on."""


class AuditLog:
    """The requests that were answered, oldest first."""

    def __init__(self, path: Path) -> None:
        """Read from a file that grows."""
        self._path = path

    def requests(self, user: str, since: float = 0.0) -> Iterator[Request]:
        """One user's requests after a moment."""
        for request in self._about(user, since):
            if request.user == user:
                yield request

    def scalings(self, namespace: str, deployment: str, since: float = 0.0) -> list[Request]:
        """Every write to a Deployment that was taken, with the number of pods it left behind."""
        return [
            request
            for request in self._about(deployment, since)
            if request.replicas is not None
            and (request.namespace, request.name) == (namespace, deployment)
        ]

    def writes(self, user: str, since: float = 0.0) -> list[Request]:
        """What a user changed, its Lease aside."""
        return [
            request
            for request in self.requests(user, since)
            if request.verb in WRITES and request.code < 400 and request.resource != "leases"
        ]

    def _about(self, word: str, since: float) -> Iterator[Request]:
        for line in self._lines(since):
            # The last line may be half written.
            if f'"{word}"' in line and line.endswith("\n"):
                request = _request(json.loads(line))
                if request.at >= since:
                    yield request

    def _lines(self, since: float) -> Iterator[str]:
        """Those of the files, full ones first, that were written to after a moment."""
        full = sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}"))
        for file in [*full, self._path]:
            if file.stat().st_mtime >= since:
                with file.open() as lines:
                    yield from lines


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
        replicas=_replicas(entry),
    )


def _replicas(entry: dict[str, Any]) -> int | None:
    answer = entry.get("responseObject") or {}
    if answer.get("kind") not in {"Deployment", "Scale"}:
        return None
    number: int = answer["spec"].get("replicas", 0)
    return number
