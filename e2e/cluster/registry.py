"""Serves an OCI layout as an image registry, to pull from only: nodes fetch what their pods need.

Run inside the control machine: python -m e2e.cluster.registry FOLDER ADDRESS PORT
"""

import json
import re
import shutil
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs)/(?P<which>[^/]+)")
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry(ThreadingHTTPServer):
    """A registry over one OCI layout; reads the layout anew for each request."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], layout: Path) -> None:
        """Listen at `address`."""
        super().__init__(address, _Handler)
        self.layout = layout

    def find(self, host: str, path: str) -> tuple[Path, str] | None:
        """The file and digest behind a registry path; None where there is none."""
        wanted = _PATH.fullmatch(path)
        if wanted is None:
            return None
        digest = wanted["which"]
        if not digest.startswith("sha256:"):
            digest = self._tags().get(f"{host}/{wanted['name']}:{digest}", "")
        file = self.layout / "blobs" / "sha256" / digest.removeprefix("sha256:")
        return (file, digest) if digest and file.is_file() else None

    def _tags(self) -> dict[str, str]:
        listed = json.loads((self.layout / "index.json").read_text())["manifests"]
        return {m["annotations"]["org.opencontainers.image.ref.name"]: m["digest"] for m in listed}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Registry

    def do_GET(self) -> None:
        if file := self._answer():
            with file.open("rb") as content:
                shutil.copyfileobj(content, self.wfile, 1 << 20)

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> Path | None:
        url = urlsplit(self.path)
        # containerd says whose mirror it takes this for; others call it by its own address.
        host = parse_qs(url.query).get("ns", [self.headers["Host"]])[0]
        found = self.server.find(host, url.path)
        if found is None:
            self.send_response(HTTPStatus.OK if url.path == "/v2/" else HTTPStatus.NOT_FOUND)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        file, digest = found
        kind = _MANIFEST if "/manifests/" in url.path else "application/octet-stream"
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(file.stat().st_size))
        self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        return file


def main() -> None:
    """Serve until ended."""
    folder, address, port = sys.argv[1:]
    Registry((address, int(port)), Path(folder)).serve_forever()


if __name__ == "__main__":
    main()
