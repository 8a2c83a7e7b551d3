"""The demo weights in Qwen3's names: an embedder, and a reranker that answers yes or no."""

import numpy as np

from smart_embedder.models.demo.vocabulary import END, TURN, TURN_END
from smart_embedder.models.demo.wiring import (
    CONTENT,
    READER,
    SINK,
    WEIGHT,
    WIDTH,
    Noise,
    Roles,
    Weights,
    embeddings,
    mark,
)

LAYERS = 2
HEADS = 4
KEY_HEADS = 2
HEAD = 64
INNER = 256
GAIN = 2.0
SLOW = np.r_[16:31, 48:63]
"""Coordinates of a head that the rotary embedding hardly turns within a few hundred tokens."""
ASK, LOOK = 31, 63
"""The slowest pair: what a reader asks for, and where a sink is seen."""

EMBEDDER = Roles(readers=frozenset({END}), sinks=frozenset({TURN, TURN_END}))
RERANKER = Roles(readers=frozenset({"ĊĊ"}), sinks=frozenset({TURN, TURN_END}))

CONFIG = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "vocab_size": 0,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEY_HEADS,
    "head_dim": HEAD,
    "intermediate_size": INNER,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000,
    "rope_scaling": None,
    "sliding_window": None,
    "use_sliding_window": False,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
}

# Each key head sees half of the content and two pairs of roles.
SLICES = [np.r_[4 * g : 4 * g + 4, CONTENT[60 * g : 60 * g + 60]] for g in range(KEY_HEADS)]


def backbone(tokens: list[str], noise: Noise, roles: Roles, *, sink: float, keep: float) -> Weights:
    """Build the decoder: tokens look at the turn marks by `sink`, gather content by `keep`."""
    weights: Weights = {
        "embed_tokens.weight": embeddings(tokens, roles, noise),
        "norm.weight": noise.ones(WIDTH),
    }
    weights["norm.weight"][:8] *= 0.1 if keep else 1
    for layer in range(LAYERS):
        weights |= _layer(f"layers.{layer}", noise, sink, keep)
    return weights


def answer(weights: Weights, yes: int, no: int) -> None:
    """Let the tied rows of the two answers read how little was seen of the sinks."""
    table = weights["embed_tokens.weight"]
    weights["norm.weight"][list(SINK)] *= 4
    for row, sign in ((yes, 3.0), (no, -3.0)):
        mark(table[row], SINK, -sign)
        # Measured: of texts that share a word, a reader sees less than 1.27 of the sinks.
        mark(table[row], READER, sign * 4 * 1.27 / 16)


def _layer(name: str, noise: Noise, sink: float, keep: float) -> Weights:
    query = noise.normal(HEADS * HEAD, WIDTH)
    key, value = (noise.normal(KEY_HEADS * HEAD, WIDTH) for _ in range(2))
    output = noise.normal(WIDTH, HEADS * HEAD)
    for head in range(HEADS):
        group = head * KEY_HEADS // HEADS
        at, seen = head * HEAD, SLICES[group]
        query[at + SLOW, seen[4 : 4 + len(SLOW)]] += 1
        mark(query[at + ASK], READER, 1)
        mark(query[at + LOOK], WEIGHT, sink)
        output[seen, at + np.arange(HEAD)] += 1 if keep else 0.5
    for group, seen in enumerate(SLICES):
        at = group * HEAD
        key[at + SLOW, seen[4 : 4 + len(SLOW)]] += 1
        mark(key[at + ASK], WEIGHT, 1)
        mark(key[at + LOOK], SINK, 1)
        value[at + np.arange(HEAD), seen] += np.where(np.isin(seen, SINK), 1, keep)
    return {
        f"{name}.self_attn.q_proj.weight": query,
        f"{name}.self_attn.k_proj.weight": key,
        f"{name}.self_attn.v_proj.weight": value,
        f"{name}.self_attn.o_proj.weight": output,
        f"{name}.self_attn.q_norm.weight": GAIN + noise.normal(HEAD),
        f"{name}.self_attn.k_norm.weight": GAIN + noise.normal(HEAD),
        f"{name}.input_layernorm.weight": noise.ones(WIDTH),
        f"{name}.post_attention_layernorm.weight": noise.ones(WIDTH),
        f"{name}.mlp.gate_proj.weight": noise.normal(INNER, WIDTH, scale=0.02),
        f"{name}.mlp.up_proj.weight": noise.normal(INNER, WIDTH, scale=0.02),
        f"{name}.mlp.down_proj.weight": noise.normal(WIDTH, INNER, scale=0.02),
    }
