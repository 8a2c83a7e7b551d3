"""A pack holds the texts' tokens in their order and knows where each text is."""

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from smart_embedder.runtime.packing import Pack, Run

CPU = torch.device("cpu")


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_every_token_is_where_the_pack_says(lengths: list[int]) -> None:
    batch = [np.arange(length, dtype=np.int32) + 100 * i for i, length in enumerate(lengths)]
    pack = Pack.of(batch, CPU)
    assert pack.lengths == tuple(lengths)
    assert pack.longest == max(lengths)
    for index, ids in enumerate(batch):
        place = slice(pack.cu_seqlens[index], pack.cu_seqlens[index + 1])
        assert pack.ids[place].tolist() == ids.tolist()
        assert pack.positions[place].tolist() == list(range(len(ids)))
        assert pack.ids[pack.first[index]] == ids[0]
        assert pack.ids[pack.last[index]] == ids[-1]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_runs_are_the_longest_stretches_of_equal_lengths(lengths: list[int]) -> None:
    runs = Pack.of([np.zeros(length, np.int32) for length in lengths], CPU).runs
    assert [run.length for run in runs for _ in range(run.texts)] == lengths
    assert all(one.length != next_.length for one, next_ in pairwise(runs))
    assert runs[-1].tokens.stop == sum(lengths)


def test_equal_lengths_side_by_side_are_one_run() -> None:
    batch = [np.zeros(length, np.int32) for length in (3, 3, 2)]
    assert Pack.of(batch, CPU).runs == (Run(0, 2, 3), Run(6, 1, 2))
