"""What texts begin with in common has one state, and nothing else has."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from smart_embedder.runtime.packing import Pack
from smart_embedder.runtime.sharing import Sharing

CPU = torch.device("cpu")


def pack_of(texts: list[list[int]]) -> Pack:
    return Pack.of([np.array(ids, np.int32) for ids in texts], CPU)


def beginnings(texts: list[list[int]]) -> list[tuple[int, ...]]:
    return [tuple(ids[: stop + 1]) for ids in texts for stop in range(len(ids))]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=8))
def test_tokens_have_one_state_exactly_where_all_up_to_them_is_equal(
    texts: list[list[int]],
) -> None:
    seen = beginnings(texts)
    sharing = Sharing.of(pack_of(texts))
    if sharing is None:
        assert len(set(seen)) > len(seen) * 0.9
        return
    assert len(sharing.kept) == len(set(seen))
    assert [seen[place] for place in sharing.kept[sharing.spread].tolist()] == seen


def test_large_ids_share_as_small_ones_do() -> None:
    prompt = [151_644, 8_948, 198]
    sharing = Sharing.of(pack_of([[*prompt, 255], [*prompt, 256], [*prompt, 151_645]]))
    assert sharing is not None
    assert len(sharing.kept) == 6


def test_texts_with_little_in_common_are_left_as_they_are() -> None:
    assert Sharing.of(pack_of([[1, *range(5, 25)], [1, *range(30, 60)]])) is None


def test_attention_reads_whole_texts_and_gives_each_state_once() -> None:
    pack = pack_of([[7, 8, 9], [7, 8, 5, 6]])
    sharing = Sharing.of(pack)
    assert sharing is not None
    states = torch.randn(len(sharing.kept), 2, 4)

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, whole: Pack) -> torch.Tensor:
        assert whole is pack
        assert torch.equal(q[:2], q[3:5])
        return q + k + v

    mixed = sharing.attend(attend, states, states, states, pack)
    torch.testing.assert_close(mixed, states * 3)
