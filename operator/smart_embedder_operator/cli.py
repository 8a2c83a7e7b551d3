"""The command line: `run` the operator, or print what needs no cluster (`crd`, `render`)."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from smart_embedder_operator import app, logs
from smart_embedder_operator.credentials import NoCredentials, find_credentials
from smart_embedder_operator.kube_client import KubeClient
from smart_embedder_operator.render import NotRendered, crd, render
from smart_embedder_operator.settings import Settings, SettingsError, load_settings
from smart_embedder_operator.telemetry import Telemetry


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; answer with the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        return int(asked.act(asked))
    except (SettingsError, NoCredentials, NotRendered, OSError) as error:
        print(f"smart-embedder-operator: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="smart-embedder-operator", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="keep the Embedders of a cluster; settings: environment")
    run.set_defaults(act=_run)
    commands.add_parser("crd", help="print the CustomResourceDefinition").set_defaults(act=_crd)
    printed = commands.add_parser("render", help="print every object an Embedder becomes")
    printed.add_argument("-f", "--file", required=True, help="manifest of an Embedder; - is stdin")
    printed.set_defaults(act=_render)
    commands.add_parser("version", help="print the version").set_defaults(act=_version)
    return parser


def _run(_: argparse.Namespace) -> int:
    settings = load_settings(os.environ)
    logs.configure(settings.log_level, json_output=settings.json_output)
    asyncio.run(_operate(settings))
    return 0


async def _operate(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    telemetry = Telemetry()
    credentials = find_credentials(os.environ)
    async with (
        KubeClient(credentials, telemetry.request) as kube,
        KubeClient(credentials, telemetry.request) as elections,
    ):
        operator = app.Operator(
            settings, kube=kube, elections=elections, credentials=credentials, telemetry=telemetry
        )
        await operator.run(stop)


def _crd(_: argparse.Namespace) -> int:
    print(crd(), end="")
    return 0


def _render(asked: argparse.Namespace) -> int:
    text = sys.stdin.read() if asked.file == "-" else Path(asked.file).read_text()
    print(render(text, app.platform(load_settings(os.environ))), end="")
    return 0


def _version(_: argparse.Namespace) -> int:
    print(version("smart-embedder"))
    return 0
