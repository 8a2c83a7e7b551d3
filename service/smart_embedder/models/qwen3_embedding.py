"""Qwen3-Embedding: the state of the `<|endoftext|>` that ends every text.

Vectors are trained to be cut (Matryoshka). A query may carry an instruction, which is a prompt:
`instructed` writes it as the model was trained on it.
"""

from pathlib import Path

import numpy as np

from smart_embedder.models.decoder import Decoder, Shape
from smart_embedder.models.dense import PROMPTS_FILE, DenseModel
from smart_embedder.models.encoder import read_optional
from smart_embedder.models.model import Card, Output
from smart_embedder.models.tokenization import Frame, Tokenizer
from smart_embedder.options import ModelOptions
from smart_embedder.runtime.devices import Device, dtype_name, resolve_dtype
from smart_embedder.runtime.pooling import check_pooling
from smart_embedder.runtime.weights import Weights, revision_of

END = "<|endoftext|>"


def instructed(task: str) -> str:
    """Write the prompt that tells the model what a query is for; no blank follows `Query:`."""
    return f"Instruct: {task}\nQuery:"


def load(folder: Path, options: ModelOptions, device: Device) -> DenseModel:
    """Load a Qwen3-Embedding of any size from a folder."""
    shape = Shape.read(folder)
    # Never float16: the larger ones overflow it (QwenLM/Qwen3-Embedding#164).
    dtype = resolve_dtype(options.dtype, device, family_allows_fp16=False)
    tokenizer = Tokenizer.load(
        folder, max_tokens=min(options.max_tokens or shape.positions, shape.positions)
    )
    end = np.array([tokenizer.id_of(END)], np.int32)
    # Said here, not left to the file: some tools write it without its closing template.
    tokenizer = tokenizer.with_frame(Frame(after=end))
    card = Card(
        name=options.name,
        family="qwen3-embedding",
        revision=revision_of(folder),
        outputs=Output.DENSE,
        dtype=dtype_name(dtype),
        engine="packed",
        pooling=check_pooling(options.pooling or "last"),
        max_tokens=tokenizer.max_tokens,
        dimensions=shape.width,
        matryoshka=True,
        vocabulary=shape.vocabulary,
        prompts=read_optional(folder, PROMPTS_FILE).get("prompts", {}),
    )
    decoder = Decoder(Weights.read(folder), shape, dtype=dtype, device=device)
    return DenseModel(card, tokenizer, decoder, device=device)
