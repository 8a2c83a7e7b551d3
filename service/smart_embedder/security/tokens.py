"""Bearer tokens: who is calling, by name.

Tokens are compared in constant time and are never written anywhere; their names are.
"""

import hmac
import os
from collections.abc import Mapping
from pathlib import Path


class Tokens:
    """The tokens of the environment and those of a file, which is read again when it changes."""

    def __init__(self, fixed: Mapping[str, str], file: Path | None = None) -> None:
        self._fixed = {name: token.encode() for name, token in fixed.items()}
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._from_file: dict[str, bytes] = {}

    @property
    def required(self) -> bool:
        """Whether a token must be shown; a file that is named but empty still closes the door."""
        return bool(self._fixed) or self._file is not None

    def name_of(self, authorization: str) -> str | None:
        """Return the name of the token in an `Authorization` header, None when it is not known."""
        scheme, _, shown = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        presented = shown.strip().encode()
        found = None
        for name, token in self._known().items():  # every one is compared: no early exit to time
            if hmac.compare_digest(presented, token):
                found = name
        return found

    def _known(self) -> dict[str, bytes]:
        if self._file is not None:
            self._reload(self._file)
        return {**self._from_file, **self._fixed}

    def _reload(self, file: Path) -> None:
        """Read the file when it is another one; keep the last good content when it cannot be."""
        try:
            facts = os.stat(file)  # noqa: PTH116 - a Path would be built for every request
            seen = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            if seen != self._seen:
                self._from_file, self._seen = _parse(file.read_text()), seen
        except (OSError, UnicodeDecodeError):
            return


def _parse(text: str) -> dict[str, bytes]:
    """Read `name: token` lines; a bare token is named by its line; # begins a comment."""
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        name, colon, token = content.partition(":")
        named = (name.strip(), token.strip()) if colon else (f"line-{number}", content)
        found[named[0]] = named[1].encode()
    return {name: token for name, token in found.items() if token}
