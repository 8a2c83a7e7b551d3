"""Small answers for those who asked: the operator by COMPRESS_RESPONSES, the client by header.

Off unless both did. Most clients accept gzip without wanting it, vectors are noise that hardly
shrinks, and a core that compresses tokenizes nothing meanwhile.
"""

import gzip

import zstandard

_WORTHWHILE_BYTES = 1024
"""Below this the headers are most of the answer."""


def _zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(content)


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=1)


_CODERS = {"zstd": _zstd, "gzip": _gzip}
"""The better first."""


def compressed(content: bytes, accepted: str) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers that say what was done to it."""
    headers = {"vary": "accept-encoding"}
    codings = _codings(accepted)
    for name, compress in _CODERS.items():
        if name in codings and len(content) >= _WORTHWHILE_BYTES:
            return compress(content), headers | {"content-encoding": name}
    return content, headers


def _codings(accepted: str) -> set[str]:
    """Read Accept-Encoding: the names that are not refused by q=0."""
    found = set()
    for part in accepted.lower().split(","):
        name, _, weight = part.partition(";")
        if weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            found.add(name.strip())
    return found
