"""The model cards' recipes and sentence-transformers: `oracle.py RECIPE FOLDER OUT`.

The question comes as JSON on standard input, the answer goes as arrays to OUT.
"""
# ruff: noqa: PLC0415 - each recipe imports its own library, as they are slow to import

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Arrays = dict[str, Any]

BEGIN = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
END = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def qwen3_vectors(folder: str, question: dict[str, Any]) -> Arrays:
    """Qwen3-Embedding as its card does it: left padding, the last position, length one."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    read = tokenizer(
        question["texts"],
        padding=True,
        truncation=True,
        max_length=question["max_tokens"],
        return_tensors="pt",
    )
    with torch.inference_mode():
        last = model(**read).last_hidden_state[:, -1]
    return {"dense": torch.nn.functional.normalize(last, dim=1).numpy()}


def qwen3_scores(folder: str, question: dict[str, Any]) -> Arrays:
    """Qwen3-Reranker as its card does it: the body cut, begin and end put around it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    yes, no = (tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    begin = tokenizer.encode(BEGIN, add_special_tokens=False)
    end = tokenizer.encode(END, add_special_tokens=False)
    bodies = [
        f"<Instruct>: {question['instruction']}\n<Query>: {question['query']}\n<Document>: {text}"
        for text in question["passages"]
    ]
    read = tokenizer(
        bodies,
        padding=False,
        truncation="longest_first",
        return_attention_mask=False,
        max_length=question["max_tokens"] - len(begin) - len(end),
    )
    read["input_ids"] = [begin + ids + end for ids in read["input_ids"]]
    padded = tokenizer.pad(read, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**padded).logits[:, -1]
    both = torch.stack([logits[:, no], logits[:, yes]], dim=1)
    likely = torch.nn.functional.log_softmax(both, dim=1)[:, 1].exp()
    return {"margin": (both[:, 1] - both[:, 0]).numpy(), "likely": likely.numpy()}


def sentence_vectors(folder: str, question: dict[str, Any]) -> Arrays:
    """What the sentence-transformers package gives for the folder, once for each prompt."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    return {
        f"dense_{index}": model.encode(question["texts"], prompt=prompt)
        for index, prompt in enumerate(question["prompts"])
    }


RECIPES: dict[str, Callable[[str, dict[str, Any]], Arrays]] = {
    recipe.__name__: recipe for recipe in (qwen3_vectors, qwen3_scores, sentence_vectors)
}

if __name__ == "__main__":
    name, folder, out = sys.argv[1:]
    np.savez(out, **RECIPES[name](folder, json.load(sys.stdin)))
