"""One keep-alive connection to a running server, for `check` and `bench`.

It knows HTTP and JSON and nothing of what the answers mean. It never retries: a request that
breaks is something both commands want to see.
"""

import http.client
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which server, and how to be let in."""

    url: str
    token: str = ""
    timeout: float = 60.0

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and after how many seconds."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        """Decode the body; `ValueError` when it is not JSON."""
        return msgspec.json.decode(self.body)


class Connection:
    """A connection opened at the first request and again after the server closed it."""

    def __init__(self, target: Target) -> None:
        url = urllib.parse.urlsplit(target.url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"{target.url!r} is not an http:// or https:// address")
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self._http = kind(url.hostname, url.port, timeout=target.timeout)
        self._prefix = url.path.rstrip("/")
        self._headers = target.headers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str) -> Answer:
        """Ask for a page."""
        return self.request("GET", path, None, {})

    def post(self, path: str, body: object, **headers: str) -> Answer:
        """Send JSON; bytes go as they are, so that broken JSON can be sent too."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return self.request("POST", path, data, {"Content-Type": "application/json", **headers})

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        """Send one request and read its whole answer."""
        started = time.perf_counter()
        try:
            self._http.request(method, self._prefix + path, body, {**self._headers, **headers})
            response = self._http.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            self._http.close()
            raise
        return Answer(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            content,
            time.perf_counter() - started,
        )
