"""What the cases read out of the API server's audit log, across its rotation."""

import json
from pathlib import Path
from typing import Any

from e2e.audit import AuditLog


def line(second: int, name: str = "search", **entry: Any) -> str:
    """A write to a Deployment, as the log has it."""
    subject = {"resource": "deployments", "namespace": "ml", "name": name, "subresource": "scale"}
    full = {
        "user": {"username": "hpa"},
        "verb": "update",
        "objectRef": subject,
        "responseStatus": {"code": 200},
        "stageTimestamp": f"2026-11-21T00:00:{second:02}.000000Z",
    }
    return json.dumps(full | entry) + "\n"


def scaled(second: int, replicas: int, kind: str = "Scale", name: str = "search") -> str:
    spec = {"replicas": replicas} if replicas else {}  # a Scale leaves out a zero
    return line(second, name, responseObject={"kind": kind, "spec": spec})


def test_every_number_of_pods_is_read_in_order_and_through_a_rotation(tmp_path: Path) -> None:
    (tmp_path / "audit-2026-11-21T00-00-05.000.log").write_text(
        scaled(1, 1, "Deployment") + scaled(4, 3)
    )
    log = tmp_path / "audit.log"
    half = scaled(9, 9).rstrip("\n")[:-5]
    log.write_text(scaled(6, 0) + scaled(7, 5, name="other") + line(8) + half)

    found = AuditLog(log).scalings("ml", "search")

    assert [(request.at % 60, request.replicas) for request in found] == [(1, 1), (4, 3), (6, 0)]
    assert {request.user for request in found} == {"hpa"}


def test_what_was_before_is_not_told(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text(scaled(1, 1) + scaled(4, 3))
    first, _ = AuditLog(log).scalings("ml", "search")

    [later] = AuditLog(log).scalings("ml", "search", first.at + 1)

    assert later.replicas == 3
