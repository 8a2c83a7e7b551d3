"""What is decided before a model is loaded."""

import pytest

from smart_embedder import EngineOptions, ModelOptions
from smart_embedder.placing import threads_of

DEMO, REAL = ModelOptions(name="demo/bge-m3"), ModelOptions(name="BAAI/bge-m3")


@pytest.mark.parametrize(
    ("embedding", "told", "threads"),
    [(DEMO, None, 1), (DEMO, 2, 2), (REAL, None, None), (REAL, 1, 1)],
)
def test_the_demo_models_leave_the_other_cores_to_the_requests(
    embedding: ModelOptions, told: int | None, threads: int | None
) -> None:
    options = EngineOptions(embedding=embedding, reranker=None, threads=told)
    assert threads_of(options) == threads


def test_one_real_model_takes_all_cores() -> None:
    assert threads_of(EngineOptions(embedding=DEMO, reranker=REAL)) is None
