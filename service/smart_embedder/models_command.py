"""`smart-embedder models list | download NAME… | demo DIR`: the models there are, and their files.

It owns words, a progress line and exit codes. What brings torch is imported when it is needed.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from smart_embedder import last_words
from smart_embedder.errors import EmbedderError, StartupFailed
from smart_embedder.options import ModelOptions

Lines = Callable[[argparse.Namespace, Callable[[str], None]], Iterator[str]]
"""An action: gives the lines to print, and tells its progress as it goes."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command and its three actions."""
    parser = commands.add_parser("models", help="list, download or write models")
    actions = parser.add_subparsers(metavar="action", required=True)

    listing = actions.add_parser("list", help="families, short ids, demo models")
    listing.set_defaults(run=run, lines=listed)

    download = actions.add_parser("download", help="bring models into the Hugging Face cache")
    download.add_argument("names", nargs="+", metavar="NAME", help="a hub id or a short id")
    download.add_argument("--revision", help="branch, tag or commit")
    download.add_argument("--cache-dir", help="in place of the usual cache (HF_HOME)")
    download.add_argument("--endpoint", help="in place of the usual hub (HF_ENDPOINT)")
    download.set_defaults(run=run, lines=downloaded)

    demo = actions.add_parser("demo", help="write the demo models as Hugging Face folders")
    demo.add_argument("folder", metavar="DIR", type=Path)
    demo.set_defaults(run=run, lines=written)


def run(args: argparse.Namespace, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> int:
    """Run one action; what goes wrong is one line and exit code 1."""

    def progress(line: str) -> None:
        if err.isatty():
            err.write(f"\r\033[K{line}")
            err.flush()

    lines: Lines = args.lines
    try:
        for line in lines(args, progress):
            progress("")
            out.write(f"{line}\n")
    except (EmbedderError, OSError) as error:
        progress("")
        err.write(f"{error}\n")
        if isinstance(error, StartupFailed):
            last_words.leave(error)
        return 1
    return 0


def listed(_: argparse.Namespace, __: Callable[[str], None]) -> Iterator[str]:
    """List what can be served."""
    from smart_embedder.models import catalog, names  # noqa: PLC0415 - brings torch
    from smart_embedder.models.demo import folders  # noqa: PLC0415 - as above

    yield "Families, in the order in which a folder is asked whose it is:"
    yield from (f"  {family.module:<22}{family.serves}" for family in catalog.FAMILIES)
    yield "\nShort ids; any other hub id or folder of these families is served as well:"
    yield from (f"  {short:<22}{full}" for short, full in names.SHORT_IDS.items())
    yield "\nDemo models, written on this machine, untrained:"
    yield from (f"  {name}" for name in folders.names())


def downloaded(args: argparse.Namespace, progress: Callable[[str], None]) -> Iterator[str]:
    """Bring models here, one after another."""
    from smart_embedder.models import catalog, hub, names  # noqa: PLC0415 - brings torch

    source = hub.Hub(endpoint=args.endpoint, cache_dir=args.cache_dir)
    for given in args.names:
        name = names.full_name(given)

        def report(done: int, total: int, name: str = name) -> None:
            progress(f"{name}  {done / 1e6:.1f} of {total / 1e6:.1f} MB")

        folder = hub.find(ModelOptions(name=name, revision=args.revision), source, report)
        family = catalog.family_of(folder)
        yield f"{name}  {family.module} ({family.serves})  {folder}"


def written(args: argparse.Namespace, _: Callable[[str], None]) -> Iterator[str]:
    """Write every demo model into a folder of its own, which must not be there yet."""
    from smart_embedder.models.demo import folders  # noqa: PLC0415 - brings torch

    for name in folders.names():
        folder = args.folder / name.removeprefix(folders.PREFIX)
        folder.mkdir(parents=True)
        folders.write(name, folder)
        yield f"{name}  {folder}"
    yield "Their weights are not trained: use them to try things out."
