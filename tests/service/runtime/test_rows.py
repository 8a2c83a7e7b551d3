"""Products meet few numbers of rows, whatever number of tokens a pass has."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smart_embedder.models.demo import folders
from smart_embedder.runtime.linear import prepacked_is_right
from smart_embedder.runtime.rows import in_whole_steps, multiply, whole

PASSES = """
import sys
from pathlib import Path
import numpy as np
from smart_embedder.models import catalog
from smart_embedder.models.model import Output
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import resolve

folder = Path(sys.argv[1])
load = catalog.loader(ModelOptions(name=folder.name, dtype=sys.argv[2]), folder)
model = load(resolve("cpu")[0])
wanted = model.card.outputs
for length in map(int, sys.argv[3:]):
    print(f"tokens {length}", flush=True)
    model.forward([np.arange(5, 5 + length, dtype=np.int32)], [wanted], lambda: None)
"""


@pytest.mark.parametrize(("rows", "found"), [(1, 1), (32, 32), (33, 34), (65, 68), (513, 528)])
def test_small_numbers_stay_and_larger_ones_go_up_to_a_step(rows: int, found: int) -> None:
    assert whole(rows) == found


@given(st.integers(1, 20_000))
def test_no_more_than_a_sixteenth_and_never_more_than_fifteen_are_added(rows: int) -> None:
    assert rows <= whole(rows) <= rows + min(15, rows // 16)
    assert whole(whole(rows)) == whole(rows)


def test_a_pass_of_the_cpus_budget_has_one_of_128_numbers_of_rows() -> None:
    # Times the six products of BGE-M3: oneDNN keeps code for 1,024.
    assert len({whole(rows) for rows in range(1, 1025)}) == 128


def test_a_head_gives_as_many_rows_as_it_got() -> None:
    x = torch.randn(37, 8)
    assert len(in_whole_steps(x)) == 38
    assert torch.equal(multiply(lambda rows: rows * 2, x), x * 2)


@pytest.mark.skipif(not prepacked_is_right(), reason="no packed products of oneDNN here")
@pytest.mark.parametrize("name", ["bge-m3", "qwen3-embedding", "bge-reranker-v2-m3"])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_new_number_of_tokens_needs_no_new_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, dtype: str
) -> None:
    monkeypatch.setenv("ONEDNN_VERBOSE", "profile_create")
    folder = folders.cached(f"demo/{name}", tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", PASSES, str(folder), dtype, "98", "99", "100"],
        capture_output=True,
        text=True,
        check=True,
    )
    first, *others = run.stdout.partition("tokens 98")[2].split("tokens ")
    assert "cache_miss" in first
    assert not [line for other in others for line in other.splitlines() if "cache_miss" in line]
