"""The command line: `smart-embedder serve | config | models | check | bench`.

It owns words and exit codes for people. Heavy imports happen in the command that needs them, so
that `--help` is quick and `check` runs where no model can.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from smart_embedder import (
    bench_command,
    check_command,
    config_command,
    models_command,
    serve_command,
)
from smart_embedder.environment import fill_from_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    fill_from_file(Path(".env"))
    args = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = args.run
    return run(args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="smart-embedder",
        description="Dense, sparse and ColBERT embeddings and reranking over HTTP.",
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    for command in (serve_command, config_command, models_command, check_command, bench_command):
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
