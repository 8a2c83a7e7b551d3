"""`smart-embedder check` against the running service, and against one that is not well."""

import argparse
import http.server
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import pytest

from smart_embedder import check_command

pytestmark = pytest.mark.timeout(300)  # the first test waits for the service, and torch


class Live(Protocol):
    """What the fixture gives."""

    url: str
    token: str


def parse(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    check_command.add_parser(parser.add_subparsers())
    return parser.parse_args(["check", *flags])


@contextmanager
def stub(*, post: tuple[int, bytes]) -> Iterator[str]:
    """A server that answers every GET with an empty object, and every POST as told."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, b"{}")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(*post)

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def broken_url() -> Iterator[str]:
    with stub(post=(200, b"{}")) as url:
        yield url


def test_a_healthy_service_passes_every_check(live: Live) -> None:
    out = io.StringIO()
    code = check_command.run(parse("--url", live.url, "--token", live.token), out)
    report = out.getvalue()
    assert code == 0, report
    assert "FAIL" not in report
    assert "SKIP" not in report
    count = len(check_command.CHECKS) + 1
    assert count >= 18
    assert report.splitlines()[-1] == f"{count}/{count} checks passed"


def test_a_server_that_answers_nonsense_fails(broken_url: str) -> None:
    out = io.StringIO()
    assert check_command.run(parse("--url", broken_url, "--token", ""), out) == 1
    assert "unexpected shape" in out.getvalue()


def test_a_model_that_is_not_served_is_skipped_and_never_passed() -> None:
    out = io.StringIO()
    with stub(post=(404, b'{"code": "model_not_found"}')) as url:
        check_command.run(parse("--url", url, "--token", ""), out)
    [line] = [line for line in out.getvalue().splitlines() if "rerank sorts by score" in line]
    assert "SKIP" in line
    assert out.getvalue().rstrip().endswith(" skipped")


def test_a_server_that_is_not_there_fails_every_check() -> None:
    out = io.StringIO()
    assert check_command.run(parse("--url", "http://127.0.0.1:1", "--token", ""), out) == 1
    assert out.getvalue().count("the connection broke") == len(check_command.CHECKS)


def test_the_token_check_runs_only_with_a_token(broken_url: str) -> None:
    without, with_token = io.StringIO(), io.StringIO()
    check_command.run(parse("--url", broken_url, "--token", ""), without)
    check_command.run(parse("--url", broken_url, "--token", "t"), with_token)
    assert "without the token" not in without.getvalue()
    assert "without the token" in with_token.getvalue()
