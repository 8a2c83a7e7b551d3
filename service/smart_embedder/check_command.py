"""`smart-embedder check`: run every check against a running server, print a table, say how it went.

A check whose model the server does not hold is skipped and shown as skipped, never as passed.
"""

import argparse
import http.client
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TextIO

from smart_embedder.checks import dialects, native, operations, refusals
from smart_embedder.checks.server import Check, CheckFailed, NotServed, Server
from smart_embedder.client import Connection, Target
from smart_embedder.table import ascii_table

CHECKS = operations.CHECKS + native.CHECKS + dialects.CHECKS + refusals.CHECKS

Outcome = Literal["PASS", "FAIL", "SKIP"]


@dataclass(frozen=True, slots=True)
class Finding:
    """How one check went, and what it saw."""

    name: str
    outcome: Outcome
    seen: str


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `check` with its flags."""
    parser = subparsers.add_parser("check", help="check a running server from outside")
    parser.add_argument("--url", default="http://localhost:8000", help="the server")
    parser.add_argument("--token", default=os.environ.get("API_TOKEN", ""), help="bearer token")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for one request")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, out: TextIO = sys.stdout) -> int:
    """Run the checks; 0 when none failed."""
    target = Target(url=args.url, token=args.token, timeout=args.timeout)
    findings = list(examine(target))
    rows = [(finding.name, finding.outcome, finding.seen) for finding in findings]
    out.write(ascii_table(("Check", "Result", "Seen"), rows, left=3) + "\n")
    passed, skipped = (
        sum(finding.outcome == outcome for finding in findings) for outcome in ("PASS", "SKIP")
    )
    note = f", {skipped} skipped" if skipped else ""
    out.write(f"{passed}/{len(findings) - skipped} checks passed{note}\n")
    return int(passed + skipped < len(findings))


def examine(target: Target) -> Iterator[Finding]:
    """Run the checks one after another; the one on tokens only where a token was given."""
    for check in CHECKS + (refusals.WITH_TOKEN if target.token else ()):
        # A connection each, so that a check that breaks one cannot hurt the next.
        with Connection(target) as connection:
            yield _judge(check, Server(target, connection))


def _judge(check: Check, server: Server) -> Finding:
    name = check.__name__.replace("_", " ")
    try:
        return Finding(name, "PASS", check(server))
    except NotServed as reason:
        return Finding(name, "SKIP", str(reason))
    except CheckFailed as failure:
        return Finding(name, "FAIL", str(failure))
    except (OSError, http.client.HTTPException) as error:
        return Finding(name, "FAIL", f"the connection broke: {error!r}")
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return Finding(name, "FAIL", f"the answer has an unexpected shape: {error!r}")
