"""The content-addressed cache."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from smart_embedder.models.model import Output, Vectors
from smart_embedder.scheduling.cache import Cache

WHOLE = Output.DENSE | Output.SPARSE | Output.COLBERT


def _vectors(tokens: int = 2) -> Vectors:
    return Vectors(
        dense=np.ones(4, np.float32),
        sparse_ids=np.arange(tokens, dtype=np.int32),
        sparse_weights=np.ones(tokens, np.float32),
        token_weights=np.ones(tokens, np.float32),
        colbert=np.ones((tokens, 4), np.float32),
    )


def test_each_output_is_found_by_itself_and_together() -> None:
    cache = Cache(100)
    cache.put("f", b"a", WHOLE, _vectors())
    assert cache.get("f", b"a", Output.SPARSE).dense is None
    assert cache.get("f", b"a", Output.SPARSE).sparse_ids is not None
    assert cache.get("f", b"a", WHOLE).colbert.shape == (2, 4)


def test_a_missing_output_another_fingerprint_or_other_ids_are_a_miss() -> None:
    cache = Cache(100)
    cache.put("f", b"a", Output.DENSE, _vectors())
    assert cache.get("f", b"a", WHOLE) is None
    assert cache.get("g", b"a", Output.DENSE) is None
    assert cache.get("f", b"b", Output.DENSE) is None


def test_what_is_kept_is_a_copy_that_nobody_can_change() -> None:
    batch = np.ones((1000, 4), np.float32)
    cache = Cache(1)
    cache.put("f", b"a", Output.DENSE, Vectors(dense=batch[3]))
    kept = cache.get("f", b"a", Output.DENSE).dense
    assert kept.base is None
    assert not kept.flags.writeable


def test_the_least_recently_used_goes_first() -> None:
    cache = Cache(2)
    cache.put("f", b"a", Output.DENSE, _vectors())
    cache.put("f", b"b", Output.DENSE, _vectors())
    cache.get("f", b"a", Output.DENSE)
    cache.put("f", b"c", Output.DENSE, _vectors())
    assert cache.get("f", b"b", Output.DENSE) is None
    assert cache.get("f", b"a", Output.DENSE) is not None


@given(
    st.integers(0, 20),
    st.lists(st.tuples(st.binary(max_size=1), st.integers(1, 30), st.sampled_from(list(Output)))),
)
def test_it_never_holds_more_vectors_than_it_may(entries, puts) -> None:
    cache = Cache(entries)
    for ids, tokens, output in puts:
        cache.put("f", ids, output, _vectors(tokens))
        held = sum(
            len(part) if name == "colbert" else name not in ("sparse_ids", "token_weights")
            for (_, name, _), part in cache._parts.items()
        )
        assert held == cache._held <= entries
