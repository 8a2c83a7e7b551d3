"""The engine over fake models: what a request gets back."""

import numpy as np
import pytest

pytestmark = pytest.mark.anyio


async def test_every_output_asked_for_comes_back(make_engine) -> None:
    async with make_engine() as engine:
        found = await engine.embed(["a b", "c"], sparse=True, colbert=True)
    assert found.dense is not None
    assert found.dense.shape == (2, 8)
    assert np.allclose(np.linalg.norm(found.dense, axis=1), 1)
    assert found.tokens == [4, 3]


async def test_scores_keep_the_order_of_the_passages(make_engine) -> None:
    async with make_engine() as engine:
        found = await engine.rerank("q", ["a", "b"], normalize=False)
    assert found.scores.shape == (2,)
