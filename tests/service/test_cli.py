"""The command line as a whole."""

from pathlib import Path

import pytest

from smart_embedder.cli import main
from smart_embedder.serve_command import share_the_cores


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


@pytest.mark.parametrize(
    ("said", "spins"),
    [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_that_wait_sleep_soon_unless_somebody_says_otherwise(
    said: dict[str, str], spins: str | None
) -> None:
    environ = dict(said)
    share_the_cores(environ)
    assert environ.get("GOMP_SPINCOUNT") == spins
