"""Runs other programs, and says what they said when they fail."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from e2e.cluster.trouble import Trouble

Argument = str | Path | int


class CommandFailed(Trouble):
    """A program ended badly; the message carries its last words."""


def output(
    argv: Sequence[object],
    *,
    stdin: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> str:
    """What `argv` prints; raises CommandFailed with its standard error otherwise."""
    done = subprocess.run(
        [str(word) for word in argv],
        input=stdin,
        cwd=cwd,
        env=environment(env),
        timeout=timeout,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = (done.stderr or done.stdout).strip()[-2000:]
        raise CommandFailed(f"{argv[0]} ended with {done.returncode}: {words or 'no message'}")
    return done.stdout


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with the folders that administrators' tools live in."""
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/local/go/bin"
    return {**os.environ, "PATH": path, **(extra or {})}
