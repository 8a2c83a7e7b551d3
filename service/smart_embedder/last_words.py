"""What a process that failed leaves for Kubernetes: the reason, where the kubelet looks for it."""

import contextlib
from pathlib import Path

import msgspec

from smart_embedder.errors import StartupFailed

TERMINATION_LOG = Path("/dev/termination-log")


def leave(error: StartupFailed, path: Path = TERMINATION_LOG, *, asked_for: bool = False) -> None:
    """Write the reason; the kubelet mounts the file, elsewhere only when somebody asked for it."""
    if path.exists() or asked_for:
        words = {"reason": error.reason, "message": error.message}
        with contextlib.suppress(OSError):
            path.write_bytes(msgspec.json.encode(words))
