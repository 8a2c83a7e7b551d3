"""Other people's code on a model folder, in a process of its own: `oracle.py RECIPE FOLDER OUT`.

The question comes as JSON on standard input, the answer goes as arrays to OUT. Each recipe imports
its own library, as they are slow to import.
"""
# ruff: noqa: PLC0415 - see above

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Arrays = dict[str, Any]


def bge_m3_by_flagembedding(folder: str, question: dict[str, Any]) -> Arrays:
    """All three outputs as FlagEmbedding gives them."""
    from FlagEmbedding import BGEM3FlagModel

    model = BGEM3FlagModel(folder, use_fp16=False, devices="cpu", normalize_embeddings=True)
    found = model.encode(
        question["texts"],
        max_length=question["max_tokens"],
        return_dense=True,
        return_sparse=True,
        return_colbert_vecs=True,
    )
    answer: Arrays = {"dense": found["dense_vecs"]}
    pairs = zip(found["lexical_weights"], found["colbert_vecs"], strict=True)
    for index, (weights, vectors) in enumerate(pairs):
        by_id = sorted((int(name), weight) for name, weight in weights.items())
        answer[f"sparse_ids_{index}"] = np.array([name for name, _ in by_id], np.int32)
        answer[f"sparse_weights_{index}"] = np.array([weight for _, weight in by_id], np.float32)
        answer[f"colbert_{index}"] = vectors
    return answer


def hidden_by_transformers(folder: str, question: dict[str, Any]) -> Arrays:
    """The last hidden states as transformers computes them, one text at a time."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    answer: Arrays = {}
    with torch.inference_mode():
        for index, text in enumerate(question["texts"]):
            read = tokenizer(
                text, truncation=True, max_length=question["max_tokens"], return_tensors="pt"
            )
            answer[f"ids_{index}"] = read["input_ids"][0].numpy()
            answer[f"hidden_{index}"] = model(**read).last_hidden_state[0].numpy()
    return answer


def scores_by_flagembedding(folder: str, question: dict[str, Any]) -> Arrays:
    """Raw logits of pairs as FlagEmbedding's reranker gives them."""
    from FlagEmbedding import FlagReranker

    model = FlagReranker(folder, use_fp16=False, devices="cpu")
    scores = model.compute_score(question["pairs"], max_length=question["max_tokens"])
    return {"scores": np.array(scores, np.float32)}


def scores_by_transformers(folder: str, question: dict[str, Any]) -> Arrays:
    """Raw logits of pairs as the model card computes them with transformers."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    scores = []
    with torch.inference_mode():
        for query, passage in question["pairs"]:
            read = tokenizer(query, passage, return_tensors="pt")
            scores.append(model(**read).logits.view(-1).numpy())
    return {"scores": np.concatenate(scores)}


RECIPES: dict[str, Callable[[str, dict[str, Any]], Arrays]] = {
    recipe.__name__: recipe
    for recipe in (
        bge_m3_by_flagembedding,
        hidden_by_transformers,
        scores_by_flagembedding,
        scores_by_transformers,
    )
}

if __name__ == "__main__":
    name, folder, out = sys.argv[1:]
    np.savez(out, **RECIPES[name](folder, json.load(sys.stdin)))
