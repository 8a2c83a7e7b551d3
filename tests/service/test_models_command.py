"""`smart-embedder models` lists, writes and says what went wrong."""

import argparse
import io
import json
from pathlib import Path

import pytest

from smart_embedder import models_command


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    models_command.add_parser(parser.add_subparsers())
    return parser


def run(parser: argparse.ArgumentParser, *words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = models_command.run(parser.parse_args(["models", *words]), out, err)
    return code, out.getvalue(), err.getvalue()


def test_the_list_names_families_short_ids_and_demo_models(parser: argparse.ArgumentParser) -> None:
    code, out, _ = run(parser, "list")
    assert code == 0
    for word in (
        "bge_m3",
        "BAAI/bge-reranker-v2-m3",
        "embedding-gemma-300m",
        "demo/qwen3-reranker",
    ):
        assert word in out


def test_demo_writes_ordinary_folders_and_says_they_are_untrained(
    parser: argparse.ArgumentParser, tmp_path: Path
) -> None:
    code, out, _ = run(parser, "demo", str(tmp_path / "models"))
    assert code == 0
    assert "not trained" in out
    config = json.loads((tmp_path / "models" / "bge-m3" / "config.json").read_text())
    assert config["model_type"] == "xlm-roberta"


def test_demo_never_writes_over_a_folder(parser: argparse.ArgumentParser, tmp_path: Path) -> None:
    (tmp_path / "bge-m3").mkdir()
    code, _, err = run(parser, "demo", str(tmp_path))
    assert code == 1
    assert "bge-m3" in err


def test_a_download_that_fails_is_one_line_and_a_code(
    parser: argparse.ArgumentParser, tmp_path: Path
) -> None:
    hub = ("--endpoint", "http://127.0.0.1:9", "--cache-dir", str(tmp_path))
    code, _, err = run(parser, "download", "bge-m3", *hub)
    assert code == 1
    assert err.startswith("BAAI/bge-m3 could not be fetched from the hub")
    assert err.count("\n") == 1
