"""The shape of the house, held by small tests."""

import operator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("folder", ["operator", "service"])
def test_a_program_folder_is_never_a_package_itself(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_the_standard_library_keeps_its_operator_module() -> None:
    assert operator.itemgetter(1)("ab") == "b"


def test_no_test_folder_is_named_like_a_standard_module() -> None:
    assert not (ROOT / "tests" / "operator").exists()
