"""Control groups for the nodes' pods, in whichever of the two layouts the kernel has (or both)."""

from contextlib import suppress
from pathlib import Path


def hierarchies() -> list[Path]:
    """The mounted trees: one in version 2, one per controller in version 1."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(where) for _, where, kind, *_ in mounts if kind in {"cgroup", "cgroup2"}]


def create(name: str) -> None:
    """A group in every tree, able to hold members."""
    for tree in hierarchies():
        group = tree
        for part in Path(name).parts:
            _delegate(group)
            group /= part
            group.mkdir(exist_ok=True)
            _copy_cpuset(group)


def remove(name: str) -> None:
    """The group and all below it, from every tree; its members must be gone."""
    for tree in hierarchies():
        top = tree / name
        below = sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True)
        for group in (*below, top):
            with suppress(FileNotFoundError):
                group.rmdir()


def left_over(name: str) -> list[Path]:
    """Where the group still exists."""
    return [tree / name for tree in hierarchies() if (tree / name).exists()]


def _delegate(group: Path) -> None:
    switches = group / "cgroup.subtree_control"
    if switches.exists() and (offered := (group / "cgroup.controllers").read_text().split()):
        switches.write_text(" ".join(f"+{one}" for one in offered))


def _copy_cpuset(group: Path) -> None:
    """A version 1 cpuset starts empty and admits nobody until it is told CPUs and memory nodes."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        mine, parents = group / name, group.parent / name
        if mine.exists() and parents.exists() and not mine.read_text().strip():
            mine.write_text(parents.read_text())
