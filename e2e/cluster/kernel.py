"""Kernel settings that kubelets change for the whole computer: remembered, then restored."""

import json
from contextlib import suppress
from pathlib import Path

SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_ROOT = Path("/proc/sys")


def remember(file: Path) -> None:
    """Write today's values down, unless that was done already."""
    if not file.exists():
        file.write_text(json.dumps({name: (_ROOT / name).read_text() for name in SETTINGS}))


def restore(file: Path) -> None:
    """Put the remembered values back."""
    with suppress(FileNotFoundError):
        for name, value in json.loads(file.read_text()).items():
            (_ROOT / name).write_text(value)
