"""`smart-embedder bench` against a server that answers as told."""

import argparse
import http.server
import io
import itertools
import json
import math
import threading
from collections.abc import Callable, Iterator

import pytest

from smart_embedder import bench_command

Statuses = Iterator[int]
Serve = Callable[[Statuses], "Recorder"]


class Recorder:
    """A loopback server that answers with the given statuses and keeps the bodies it was sent."""

    def __init__(self, statuses: Statuses) -> None:
        self.bodies: list[dict[str, object]] = []
        self.tokens: set[str | None] = set()
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                recorder.bodies.append(json.loads(self.rfile.read(length)))
                recorder.tokens.add(self.headers.get("Authorization"))
                self.send_response(next(statuses))
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def serve() -> Iterator[Serve]:
    running: list[tuple[Recorder, threading.Thread]] = []

    def start(statuses: Statuses) -> Recorder:
        recorder = Recorder(statuses)
        thread = threading.Thread(target=recorder.server.serve_forever, args=(0.01,))
        thread.start()
        running.append((recorder, thread))
        return recorder

    yield start
    for recorder, thread in running:
        recorder.server.shutdown()
        thread.join()
        recorder.server.server_close()


def parse(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench_command.add_parser(parser.add_subparsers())
    return parser.parse_args(["bench", *flags])


def test_the_flags_keep_their_names_and_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("API_TOKEN", raising=False)
    args = vars(parse())
    args.pop("run")
    assert args == {
        "url": "http://localhost:8000",
        "token": "",
        "concurrency": 8,
        "requests": 100,
        "batch_size": 4,
        "warmup": 5,
        "timeout": 60,
        "max_batch_size": 128,
        "scenarios": ["embed_dense", "embed_full", "rerank"],
        "sleep_between": 0,
        "json": False,
    }


def test_every_scenario_is_a_row_of_the_table(serve: Serve) -> None:
    recorder = serve(itertools.repeat(200))
    out = io.StringIO()
    code = bench_command.run(
        parse("--url", recorder.url, "--requests", "20", "--concurrency", "3"), out, io.StringIO()
    )
    assert code == 0
    header, *rows = (line for line in out.getvalue().splitlines() if line.startswith("|"))
    assert [cell.strip() for cell in header.strip("|").split("|")] == list(bench_command.HEADER)
    assert [row.split("|")[1].strip() for row in rows] == ["embed_dense", "embed_full", "rerank"]
    assert all(row.split("|")[2:6] == ["   20 ", " 20 ", "    0 ", "    3 "] for row in rows)


def test_no_text_is_sent_twice(serve: Serve) -> None:
    recorder = serve(itertools.repeat(200))
    flags = ("--url", recorder.url, "--requests", "10", "--warmup", "2", "--scenarios", "rerank")
    bench_command.run(parse(*flags, "--batch-size", "3"), io.StringIO(), io.StringIO())
    passages = [passage for body in recorder.bodies for passage in body["passages"]]  # type: ignore[attr-defined] # JSON
    assert len(passages) == len(set(passages)) == 12 * 3


def test_a_refused_request_is_counted_and_named(serve: Serve) -> None:
    recorder = serve(itertools.chain([200, 503, 200, 503], itertools.repeat(200)))
    out, err = io.StringIO(), io.StringIO()
    flags = ("--requests", "4", "--warmup", "0", "--concurrency", "1", "--scenarios", "embed_dense")
    code = bench_command.run(parse("--url", recorder.url, *flags, "--json"), out, err)
    (figures,) = json.loads(out.getvalue())
    assert code == 1
    assert (figures["ok"], figures["fail"], figures["requests"]) == (2, 2, 4)
    assert "503" in err.getvalue()


def test_progress_is_told_while_it_runs(serve: Serve) -> None:
    err = io.StringIO()
    flags = ("--url", serve(itertools.repeat(200)).url, "--requests", "20", "--concurrency", "1")
    bench_command.run(parse(*flags, "--scenarios", "embed_full"), io.StringIO(), err)
    assert err.getvalue().splitlines() == [f"embed_full: {done}/20" for done in range(2, 21, 2)]


def test_the_token_is_sent(serve: Serve) -> None:
    recorder = serve(itertools.repeat(200))
    flags = ("--url", recorder.url, "--token", "s3", "--requests", "1", "--scenarios", "rerank")
    bench_command.run(parse(*flags), io.StringIO(), io.StringIO())
    assert recorder.tokens == {"Bearer s3"}


def test_a_server_that_is_not_there_fails_every_request() -> None:
    flags = ("--url", "http://127.0.0.1:1", "--requests", "3", "--scenarios", "embed_dense")
    out = io.StringIO()
    assert bench_command.run(parse(*flags), out, io.StringIO()) == 1
    assert " - " in out.getvalue()


def test_a_batch_above_the_guardrail_is_refused_and_zero_lifts_it(serve: Serve) -> None:
    err = io.StringIO()
    assert bench_command.run(parse("--batch-size", "129"), io.StringIO(), err) == 2
    assert "--max-batch-size 128" in err.getvalue()
    flags = ("--url", serve(itertools.repeat(200)).url, "--requests", "1", "--batch-size", "129")
    assert bench_command.run(parse(*flags, "--max-batch-size", "0"), io.StringIO(), err) == 0


def test_all_scenarios_may_be_asked_for_in_one_word() -> None:
    assert parse("--scenarios", "all").scenarios == parse().scenarios


def test_an_unknown_scenario_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--scenarios", "embed_dense,embed_sparse")
    assert "embed_sparse: choose from" in capsys.readouterr().err


@pytest.mark.parametrize(("share", "value"), [(0.5, 2.0), (0.95, 4.0), (0.0, 1.0), (1.0, 4.0)])
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert bench_command.percentile([1.0, 2.0, 3.0, 4.0], share) == value
    assert math.isnan(bench_command.percentile([], share))
