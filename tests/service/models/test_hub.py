"""The hub, well and ill: a stub on loopback stands in for it, the real client talks to it."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from smart_embedder.errors import (
    ModelDownloadFailed,
    ModelGated,
    ModelLoadFailed,
    ModelMissing,
)
from smart_embedder.models.hub import Hub, check_file, find, wanted
from smart_embedder.options import ModelOptions

COMMIT = "c" * 40
NAME = "acme/tiny"
BIG = bytes(range(256)) * 48_000
"""12 MB: the client keeps what it has in steps of 10 MB."""
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "tokenizer.json": b"{}",
    "1_Pooling/config.json": b"{}",
    "model.safetensors": BIG,
    "pytorch_model.bin": b"the same weights, pickled",
    "onnx/model.onnx": b"for somebody else",
}


@dataclass
class Stub:
    """What the hub has and how it is today."""

    url: str = ""
    status: int | None = None
    reason: str = ""
    breaks_at: int | None = None
    """After so many bytes the connection breaks, once."""
    truncates: bool = False
    """Whether files have lost their second half since they were described."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - a class of small methods
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            path = unquote(self.path.partition("?")[0])
            stub.requests.append((self.command, path))
            if stub.status is not None:
                return self._say(stub.status, {"X-Error-Code": stub.reason}, b"", body=body)
            if path.startswith("/api/models/"):
                return self._describe(path, body=body)
            prefix = f"/{NAME}/resolve/{COMMIT}/"
            content = FILES.get(path.removeprefix(prefix)) if path.startswith(prefix) else None
            if content is None:
                return self._say(404, {"X-Error-Code": "EntryNotFound"}, b"", body=body)
            return self._file(content, body=body)

        def _describe(self, path: str, *, body: bool) -> None:
            if path.removeprefix("/api/models/").partition("/revision/")[0] != NAME:
                return self._say(404, {"X-Error-Code": "RepoNotFound"}, b"", body=body)
            listed = [{"rfilename": name, "size": len(data)} for name, data in FILES.items()]
            facts = {"id": NAME, "sha": COMMIT, "siblings": listed}
            return self._say(200, {}, json.dumps(facts).encode(), body=body)

        def _file(self, content: bytes, *, body: bool) -> None:
            headers = {
                "X-Repo-Commit": COMMIT,
                "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                "Accept-Ranges": "bytes",
            }
            if body and stub.truncates:
                content = content[: len(content) // 2]
            asked = self.headers.get("Range")
            if not body or asked is None:
                return self._say(200, headers, content, body=body)
            stub.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return self._say(206, headers | {"Content-Range": span}, content[start:], body=body)

        def _say(self, status: int, headers: dict[str, str], content: bytes, *, body: bool) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                sent = content[: stub.breaks_at]
                if len(sent) < len(content):
                    stub.breaks_at = None
                self.wfile.write(sent)
            self.close_connection = True

    return Handler


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(stub))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield stub
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def hub(stub: Stub, tmp_path: Path) -> Hub:
    return Hub(endpoint=stub.url, cache_dir=str(tmp_path / "cache"))


def offline(hub: Hub) -> Hub:
    return Hub(offline=True, endpoint=hub.endpoint, cache_dir=hub.cache_dir)


def fetch(hub: Hub, name: str = NAME, revision: str | None = None) -> Path:
    return find(ModelOptions(name=name, revision=revision), hub, lambda _, __: None)


def test_a_download_brings_what_a_model_is_read_from_and_tells_its_progress(hub: Hub) -> None:
    told: list[tuple[int, int]] = []
    folder = find(ModelOptions(name=NAME), hub, lambda done, total: told.append((done, total)))
    assert folder.name == COMMIT
    assert (folder / "model.safetensors").read_bytes() == BIG
    assert (folder / "1_Pooling" / "config.json").is_file()
    assert not (folder / "pytorch_model.bin").exists()
    assert not (folder / "onnx").exists()
    total = sum(len(FILES[name]) for name in wanted(FILES))
    assert told[0] == (0, total)
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_second_start_downloads_nothing(hub: Hub, stub: Stub) -> None:
    folder = fetch(hub)
    stub.requests.clear()
    assert fetch(hub) == folder
    assert not [path for method, path in stub.requests if method == "GET" and "resolve" in path]


def test_a_download_that_breaks_goes_on_where_it_stopped(hub: Hub, stub: Stub) -> None:
    stub.breaks_at = 11_000_000
    assert (fetch(hub) / "model.safetensors").read_bytes() == BIG
    (asked,) = stub.ranges
    assert int(asked.removeprefix("bytes=").partition("-")[0]) >= 10_000_000


def test_a_file_that_arrives_short_is_a_failed_download(hub: Hub, stub: Stub) -> None:
    stub.truncates = True
    with pytest.raises(ModelDownloadFailed, match="whole"):
        fetch(hub)
    stub.truncates = False
    assert (fetch(hub) / "model.safetensors").read_bytes() == BIG


def test_a_name_the_hub_does_not_know_is_a_missing_model(hub: Hub) -> None:
    with pytest.raises(ModelMissing, match="acme/nonesuch"):
        fetch(hub, "acme/nonesuch")


def test_a_name_that_cannot_be_one_is_a_missing_model(hub: Hub) -> None:
    with pytest.raises(ModelMissing):
        fetch(hub, "not a name / at all")


def test_a_folder_that_is_not_there_is_never_asked_of_the_hub(hub: Hub, stub: Stub) -> None:
    with pytest.raises(ModelMissing, match="/no/such/folder"):
        fetch(hub, "/no/such/folder")
    assert stub.requests == []


def test_a_gated_model_says_what_to_do(hub: Hub, stub: Stub) -> None:
    stub.status, stub.reason = 403, "GatedRepo"
    with pytest.raises(ModelGated, match="licence"):
        fetch(hub)


def test_a_hub_that_fails_is_named_as_such(hub: Hub, stub: Stub) -> None:
    stub.status = 500
    with pytest.raises(ModelDownloadFailed, match=NAME):
        fetch(hub)


def test_a_hub_that_is_down_is_a_failed_download(tmp_path: Path) -> None:
    nobody = Hub(endpoint="http://127.0.0.1:9", cache_dir=str(tmp_path))
    with pytest.raises(ModelDownloadFailed, match=NAME):
        fetch(nobody)


def test_a_hub_that_is_down_does_not_matter_to_a_model_that_is_here(hub: Hub) -> None:
    folder = fetch(hub)
    assert fetch(Hub(endpoint="http://127.0.0.1:9", cache_dir=hub.cache_dir)) == folder


def test_offline_finds_what_was_downloaded_and_never_asks(hub: Hub, stub: Stub) -> None:
    folder = fetch(hub)
    stub.requests.clear()
    assert fetch(offline(hub)) == folder
    assert stub.requests == []


def test_offline_says_which_model_is_missing_and_how_to_bring_it(hub: Hub, stub: Stub) -> None:
    with pytest.raises(ModelMissing, match=f"models download {NAME}"):
        fetch(offline(hub))
    assert stub.requests == []


def test_offline_says_which_file_is_missing(hub: Hub) -> None:
    (fetch(hub) / "config.json").unlink()
    with pytest.raises(ModelMissing, match=r"config\.json"):
        fetch(offline(hub))


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path, stub: Stub) -> None:
    assert fetch(Hub(endpoint=stub.url), str(tmp_path)) == tmp_path
    assert stub.requests == []


def test_pickled_weights_are_fetched_only_where_there_are_no_others() -> None:
    names = [
        "a/model.safetensors",
        "a/pytorch_model.bin",
        "b/pytorch_model.bin",
        "x.py",
        "c.msgpack",
    ]
    assert list(wanted(names)) == ["a/model.safetensors", "b/pytorch_model.bin"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match=r"config\.json"):
        check_file(tmp_path / "config.json")
