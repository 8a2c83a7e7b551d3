"""`smart-embedder config`: the effective settings, secrets masked; or the table of all of them."""

import argparse
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import msgspec
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import NoDecode

from smart_embedder.environment import InvalidSettings
from smart_embedder.settings import Settings, read_settings

_MASK = "********"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser("config", help="print the effective settings, secrets masked")
    parser.add_argument("--table", action="store_true", help="print what every variable means")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> int:
    """Print, or say what is wrong with the environment."""
    try:
        lines = table() if args.table else effective(read_settings())
    except InvalidSettings as error:
        err.write(f"{error.message}\n")
        return 2
    out.writelines(f"{line}\n" for line in lines)
    return 0


def effective(settings: Settings) -> Iterator[str]:
    """Write each variable with its value, as an environment file would."""
    for name, field in Settings.model_fields.items():
        yield f"{name.upper()}={_shown(getattr(settings, name), field)}"


def table() -> Iterator[str]:
    """Write the table of `docs/configuration.md`."""
    yield "| Variable | Scope | Default | Origin | Meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for name, field in Settings.model_fields.items():
        facts = _facts(field)
        default = _shown(field.default, field)
        cell = f"`{default}`" if default else ""
        yield (
            f"| `{name.upper()}` | {facts['scope']} | {cell} | {facts['origin']} |"
            f" {field.description} |"
        )


def _facts(field: FieldInfo) -> dict[str, Any]:
    assert isinstance(field.json_schema_extra, dict)  # noqa: S101 - `setting` gives every field one
    return field.json_schema_extra


def _shown(value: object, field: FieldInfo) -> str:
    if isinstance(value, SecretStr):
        return _MASK if value.get_secret_value() else ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict) and value and NoDecode not in field.metadata:
        return msgspec.json.encode(value).decode()
    if isinstance(value, dict):
        return ",".join(f"{key}={text}" for key, text in value.items())
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)
