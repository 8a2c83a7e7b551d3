"""How the served models come onto the devices. The only way from the engine to weights."""

from collections.abc import Callable, Sequence

from smart_embedder.options import EngineOptions, ModelOptions
from smart_embedder.results import Progress
from smart_embedder.scheduling.replica import Replica

Report = Callable[[Progress], None]
Loader = Callable[[EngineOptions, Report], Sequence[Replica]]
"""Builds one replica for each device; runs in a thread of its own and may take minutes."""


def served(options: EngineOptions) -> list[ModelOptions]:
    """Every model to load, each name once."""
    wanted = [options.embedding, options.dense, options.reranker, *options.more]
    return list({model.name: model for model in reversed(wanted) if model}.values())[::-1]


def load(options: EngineOptions, report: Report) -> list[Replica]:
    """Load every served model onto every device that is asked for."""
    raise NotImplementedError
