"""Smart Embedder among the engines of the comparison."""

from pathlib import Path
from typing import Any

import numpy as np

from bench import full_shape
from bench.rivals import Floats, unit
from smart_embedder.models import bge_m3, cross_encoder
from smart_embedder.models.model import Output
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.budget import batch_token_budget
from smart_embedder.runtime.devices import resolve


class Ours:
    """Smart Embedder's models, below the scheduler."""

    def __init__(self, folder: Path, dtype: str) -> None:
        [cpu] = resolve("cpu")
        embedder, reranker = full_shape.write(folder)
        options = ModelOptions(name="full-shape", dtype=dtype)
        self._load_reranker = lambda: cross_encoder.load(reranker, options, cpu)
        self._embedder = bge_m3.load(embedder, options, cpu)
        self._all = Output.DENSE | Output.SPARSE | Output.COLBERT
        self._score = Output.SCORE
        self._reranker: Any = None
        self._budget = batch_token_budget(cpu, self._embedder.card.max_tokens)

    def vectors(self, texts: list[str]) -> list[Any]:
        """Give all three outputs."""
        batch = [prepared.ids for prepared in self._embedder.prepare(texts)]
        return self._forward(self._embedder, batch, self._all)

    def _forward(self, model: Any, batch: list[Any], wanted: Any) -> list[Any]:
        """Run in passes of as many tokens as the scheduler puts into one, shortest texts first."""
        order = sorted(range(len(batch)), key=lambda index: len(batch[index]))
        found: dict[int, Any] = {}
        while order:
            ends = np.cumsum([len(batch[index]) for index in order])
            some = max(1, int(np.searchsorted(ends, self._budget, side="right")))
            chosen, order = order[:some], order[some:]
            passed = model.forward(
                [batch[index] for index in chosen], [wanted] * some, lambda: None
            )
            found |= zip(chosen, passed, strict=True)
        return [found[index] for index in range(len(batch))]

    def embed(self, texts: list[str]) -> Floats:
        return unit([vectors.dense for vectors in self.vectors(texts)])

    def save(self, texts: list[str], path: str) -> None:
        """Write all three outputs of the texts to a file."""
        found = self.vectors(texts)
        sparse = np.zeros((len(found), full_shape.VOCABULARY), np.float32)
        for row, vectors in zip(sparse, found, strict=True):
            row[vectors.sparse_ids] = vectors.sparse_weights
        dense = unit([vectors.dense for vectors in found])
        colbert = np.concatenate([vectors.colbert for vectors in found])
        np.savez(path, dense=dense, sparse=sparse, colbert=colbert)

    def rerank(self, query: str, passages: list[str]) -> Any:
        self._reranker = self._reranker or self._load_reranker()
        batch = [prepared.ids for prepared in self._reranker.prepare_pairs(query, passages)]
        return self._forward(self._reranker, batch, self._score)
