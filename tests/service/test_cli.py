"""The command line as a whole."""

from pathlib import Path

import pytest

from smart_embedder.cli import main


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for command in ("serve", "config", "models", "check", "bench"):
        assert f"    {command} " in shown


def test_a_command_is_needed() -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2


@pytest.mark.parametrize("command", ["config", "serve"])
def test_wrong_settings_end_with_2(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("MAX_QUEUE_SIZE", "many")
    assert main([command]) == 2
