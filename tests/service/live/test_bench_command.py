"""`smart-embedder bench` against the running service."""

import argparse
import io
import json
from typing import Protocol

import pytest

from smart_embedder import bench_command

pytestmark = pytest.mark.timeout(300)  # the first test waits for the service, and torch


class Live(Protocol):
    """What the fixture gives."""

    url: str
    token: str


def test_every_scenario_is_answered(live: Live) -> None:
    parser = argparse.ArgumentParser()
    bench_command.add_parser(parser.add_subparsers())
    load = ["--requests", "6", "--concurrency", "2", "--warmup", "1", "--json"]
    args = parser.parse_args(["bench", "--url", live.url, "--token", live.token, *load])
    out, err = io.StringIO(), io.StringIO()
    assert bench_command.run(args, out, err) == 0, err.getvalue()
    rows = json.loads(out.getvalue())
    assert [(row["scenario"], row["ok"]) for row in rows] == [
        ("embed_dense", 6),
        ("embed_full", 6),
        ("rerank", 6),
    ]
    assert all(row["p50_ms"] <= row["p99_ms"] <= row["max_ms"] for row in rows)
