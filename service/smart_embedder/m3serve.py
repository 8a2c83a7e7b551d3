"""m3serve's own words over our engine, for programs that change no more than an import.

What m3serve lets a program choose and nothing here depends on is taken and does nothing: the
kernel of the attention follows the device, and a packed pass has nothing to compile.
"""

import asyncio
import sys
from dataclasses import dataclass
from typing import Literal

from smart_embedder import engine
from smart_embedder.loading import Loader, load
from smart_embedder.options import (
    DEFAULT_EMBEDDING_MODEL,
    EngineOptions,
    ModelOptions,
    SchedulingOptions,
)

Attention = Literal["flash_attention_2", "flash_attention_3", "sdpa", "eager"]


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """The vectors of one call, as lists."""

    dense: list[list[float]]
    sparse_indices: list[list[int]] | None = None
    sparse_weights: list[list[float]] | None = None


class Engine:
    """Dense and sparse vectors of a BGE-M3 in one call."""

    def __init__(  # noqa: PLR0917 - m3serve takes them in this order, by name or by place
        self,
        model_name: str = DEFAULT_EMBEDDING_MODEL,
        device: str | None = None,
        use_fp16: bool = True,  # noqa: FBT001, FBT002 - as above
        torch_compile: bool = False,  # noqa: FBT001, FBT002 - as above
        max_batch_size: int = 256,
        batch_delay: float = 0.0,
        tokenizer_threads: int = 4,
        max_length: int = 8192,
        attn_implementation: Attention | None = None,
        *,
        loader: Loader = load,
    ) -> None:
        """Take m3serve's options; `batch_delay` is 0 unless told, as nothing here gains by it.

        Half precision is the device's own (bfloat16 where it has that), and none on a CPU.
        """
        del torch_compile, attn_implementation
        model = ModelOptions(
            name=model_name, dtype="auto" if use_fp16 else "float32", max_tokens=max_length
        )
        scheduling = SchedulingOptions(
            max_queue_requests=sys.maxsize,  # m3serve refuses nobody; a call's timeout bounds it
            max_queue_tokens=sys.maxsize,
            max_batch_texts=max_batch_size,
            batch_window_seconds=batch_delay,
        )
        self._engine = engine.Engine(
            EngineOptions(
                embedding=model,
                reranker=None,
                device=device or "auto",
                tokenizer_workers=tokenizer_threads,
                scheduling=scheduling,
            ),
            loader=loader,
        )

    async def start(self) -> None:
        """Load and warm the model."""
        await self._engine.start()

    async def stop(self) -> None:
        """Finish what is running and give the model back."""
        await self._engine.stop()

    async def embed(
        self,
        texts: list[str],
        return_sparse: bool = False,  # noqa: FBT001, FBT002 - as m3serve takes it
        timeout: float = 60.0,  # noqa: ASYNC109 - as m3serve takes it
    ) -> EmbeddingResult:
        """Embed texts; raises `TimeoutError` after so many seconds."""
        async with asyncio.timeout(timeout):
            found = await self._engine.embed(texts, sparse=return_sparse)
        dense = found.dense_rows.tolist()
        if found.sparse is None:
            return EmbeddingResult(dense)
        return EmbeddingResult(
            dense,
            [sparse.ids.tolist() for sparse in found.sparse],
            [sparse.weights.tolist() for sparse in found.sparse],
        )
