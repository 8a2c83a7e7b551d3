"""The README does what it says: its Python runs as it stands, its commands exist."""

import ast
import asyncio
import re
from inspect import iscoroutine
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_runs_as_it_stands() -> None:
    [code] = blocks("python")
    names: dict[str, object] = {}

    running = eval(compile(code, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    assert iscoroutine(running)
    asyncio.run(running)

    assert len(names["ranking"].scores) == 2
    assert names["result"].dense.shape == (1, 128)


def test_every_task_is_one_of_the_makefile() -> None:
    tasks = re.findall(r"^([a-z0-9-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"\bmake ([a-z-]+)", "\n".join(blocks("sh")) + README)

    assert {"serve", "test", "up", "down"} <= set(named) <= set(tasks)


def test_every_file_of_a_command_is_there() -> None:
    files = re.findall(r" -f (\S+)", "\n".join(blocks("sh")))

    assert files
    assert all((ROOT / file).exists() for file in files)
