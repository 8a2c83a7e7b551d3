"""What a failed process leaves where the kubelet looks."""

import json
from pathlib import Path

from smart_embedder import last_words
from smart_embedder.errors import ModelGated


def test_the_reason_is_left_where_the_kubelet_has_mounted_the_file(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    last_words.leave(ModelGated("accept its licence"), log)
    assert json.loads(log.read_text()) == {"reason": "ModelGated", "message": "accept its licence"}


def test_nothing_is_written_where_nobody_looks(tmp_path: Path) -> None:
    last_words.leave(ModelGated("no"), tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_asked_for_is_made(tmp_path: Path) -> None:
    last_words.leave(ModelGated("no"), tmp_path / "made", asked_for=True)
    assert (tmp_path / "made").exists()
