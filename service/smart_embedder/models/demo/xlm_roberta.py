"""The demo weights in XLM-RoBERTa's names: BGE-M3 with its heads, and a cross-encoder."""

import numpy as np

from smart_embedder.models.demo.wiring import (
    CONTENT,
    READER,
    SINK,
    WEIGHT,
    WIDTH,
    Matrix,
    Noise,
    Roles,
    Weights,
    embeddings,
    mark,
)

LAYERS = 2
HEADS = 4
HEAD = WIDTH // HEADS
INNER = 256
POSITIONS = 8194
"""As in the real models: 8192 tokens and an offset of two."""
ROLES = Roles(readers=frozenset({"<s>"}), sinks=frozenset({"</s>"}))

CONFIG = {
    "model_type": "xlm-roberta",
    "vocab_size": 0,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "hidden_act": "gelu",
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-05,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "position_embedding_type": "absolute",
    "torch_dtype": "float32",
}

# Each head sees its slice of the content and, in its first two coordinates, one pair of roles.
SLICES = [np.r_[2 * h : 2 * h + 2, CONTENT[30 * h : 30 * h + 30]] for h in range(HEADS)]


def backbone(tokens: list[str], noise: Noise, *, sink: float, roles: float) -> Weights:
    """Build the encoder; `sink` is how strongly a token looks at the ends instead of its likes."""
    weights: Weights = {
        "embeddings.word_embeddings.weight": embeddings(tokens, ROLES, noise),
        "embeddings.position_embeddings.weight": noise.normal(POSITIONS, WIDTH, scale=0.01),
        "embeddings.token_type_embeddings.weight": noise.normal(1, WIDTH),
        **_norm("embeddings.LayerNorm", noise),
    }
    for layer in range(LAYERS):
        weights |= _layer(f"encoder.layer.{layer}", noise, sink)
    weights[f"encoder.layer.{LAYERS - 1}.output.LayerNorm.weight"][:8] *= roles
    return weights


def heads(noise: Noise) -> tuple[Weights, Weights]:
    """Build BGE-M3's sparse head (weight of a token) and ColBERT head (its content)."""
    sparse = noise.normal(1, WIDTH, scale=0.002)
    mark(sparse, WEIGHT, 0.25)
    colbert = noise.normal(WIDTH, WIDTH)
    colbert[CONTENT, CONTENT] += 1
    return (
        {"weight": sparse, "bias": np.full(1, 0.02, np.float32)},
        {"weight": colbert, "bias": noise.normal(WIDTH)},
    )


def classifier(noise: Noise) -> Weights:
    """Build the head of a cross-encoder: little sight of the sinks is a high score."""
    dense = noise.normal(WIDTH, WIDTH)
    mark(dense[0], SINK, 2.5)
    score = noise.normal(1, WIDTH)
    score[0, 0] = -6
    bias = noise.normal(WIDTH)
    bias[0] = -2.5 * 2.2  # measured: pairs that share a word lie below 2.2, others above
    return {
        "classifier.dense.weight": dense,
        "classifier.dense.bias": bias,
        "classifier.out_proj.weight": score,
        "classifier.out_proj.bias": noise.normal(1),
    }


def _layer(name: str, noise: Noise, sink: float) -> Weights:
    query, key, value = (noise.normal(WIDTH, WIDTH) for _ in range(3))
    for head, seen in enumerate(SLICES):
        rows = np.arange(head * HEAD, (head + 1) * HEAD)
        query[rows[2:], seen[2:]] += 1.6
        key[rows[2:], seen[2:]] += 1.6
        mark(query[rows[0]], READER, 0.5)
        mark(key[rows[0]], WEIGHT, 1.0)
        mark(query[rows[1]], WEIGHT, 0.5)
        mark(key[rows[1]], SINK, sink)
        value[rows[:2], seen[:2]] += 1
        value[rows[2:], seen[2:]] += sink == 0
    output: Matrix = noise.normal(WIDTH, WIDTH)
    output[np.concatenate(SLICES), np.arange(WIDTH)] += 0.5 if sink else 3
    return {
        **_linear(f"{name}.attention.self.query", query, noise),
        **_linear(f"{name}.attention.self.key", key, noise),
        **_linear(f"{name}.attention.self.value", value, noise),
        **_linear(f"{name}.attention.output.dense", output, noise),
        **_norm(f"{name}.attention.output.LayerNorm", noise),
        **_linear(f"{name}.intermediate.dense", noise.normal(INNER, WIDTH, scale=0.02), noise),
        **_linear(f"{name}.output.dense", noise.normal(WIDTH, INNER, scale=0.02), noise),
        **_norm(f"{name}.output.LayerNorm", noise),
    }


def _linear(name: str, weight: Matrix, noise: Noise) -> Weights:
    return {f"{name}.weight": weight, f"{name}.bias": noise.normal(len(weight))}


def _norm(name: str, noise: Noise) -> Weights:
    return {f"{name}.weight": noise.ones(WIDTH), f"{name}.bias": noise.normal(WIDTH)}
