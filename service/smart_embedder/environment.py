"""The process environment, before it becomes settings.

It owns what is true of the environment as a whole: a `.env` file fills in without overriding, our
own prefix holds no typos, and the variables that Kubernetes injects for a Service of our name are
not taken for ours. It refuses to know what any variable means.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dotenv
from pydantic_settings import BaseSettings, EnvSettingsSource

from smart_embedder.errors import StartupFailed

PREFIX = "SMART_EMBEDDER_"

# What the kubelet injects for every Service of a namespace (enableServiceLinks), here for Services
# named smart-embedder or smart-embedder-*: {NAME}_SERVICE_HOST, _SERVICE_PORT[_NAME] and
# {NAME}_PORT[_8000_TCP[_PROTO|_PORT|_ADDR]].
_SERVICE_LINK = re.compile(
    r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)
_LINK_ADDRESS = re.compile(r"^(tcp|udp|sctp)://")


class InvalidSettings(StartupFailed):
    """A variable has a value that cannot be, or a name in our own prefix that no setting has."""

    reason = "InvalidSettings"


def fill_from_file(path: Path) -> None:
    """Read a `.env` file into the process environment, overriding nothing that is set."""
    dotenv.load_dotenv(path, override=False)


def is_service_link(name: str, value: str) -> bool:
    """Tell the variables Kubernetes injects from those that a person wrote."""
    return bool(_SERVICE_LINK.search(name)) or (
        name.endswith("_PORT") and bool(_LINK_ADDRESS.match(value))
    )


def refuse_unknown(environ: Mapping[str, str], names: Iterable[str]) -> None:
    """Raise for a name in our prefix that is no setting: it is a typo that would do nothing."""
    known = {f"{PREFIX}{name}".upper() for name in names}
    unknown = sorted(
        name
        for name, value in environ.items()
        if name.upper().startswith(PREFIX)
        and name.upper() not in known
        and not is_service_link(name, value)
    )
    if unknown:
        raise InvalidSettings(
            f"no setting is called {', '.join(unknown)}; `smart-embedder config` lists them all"
        )


class PrefixedVariables(EnvSettingsSource):
    """Settings spelled with our prefix; they win over the plain spelling."""

    def __init__(self, settings_cls: type[BaseSettings], **options: Any) -> None:
        super().__init__(settings_cls, env_prefix=PREFIX, **options)
        links = {name for name, value in os.environ.items() if is_service_link(name, value)}
        self.env_vars = {
            name: value for name, value in self.env_vars.items() if name.upper() not in links
        }
