"""The engines of the comparison, each in a process of its own: `python -m bench.rivals NAME DIR`.

A line on standard input names a case, the answer is its seconds. Engines without BGE-M3's heads
compute only the hidden states, which is in their favour; ours and those that have the heads give
all three outputs. Texts are tokenized inside the measured time.
"""
# ruff: noqa: PLC0415 - a process imports the one engine it runs

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from bench import full_shape, limits
from bench.cases import CASES, Case

Floats = npt.NDArray[np.float32]
BATCH = 8
"""Texts in a batch of the engines that pad; more only pads more on two cores."""


class Rival(Protocol):
    """An engine under test; one without a reranker is not asked for it."""

    def embed(self, texts: list[str]) -> Floats:
        """Give a normalised dense vector for each text, in order."""
        ...

    def rerank(self, query: str, passages: list[str]) -> Any:
        """Score the passages."""
        ...


def unit(rows: npt.ArrayLike) -> Floats:
    """Bring every row to length one."""
    array = np.asarray(rows, np.float32)
    ones: Floats = array / np.linalg.norm(array, axis=-1, keepdims=True)
    return ones


def _ours(folder: Path, dtype: str) -> Rival:
    from bench.ours import Ours

    return Ours(folder, dtype)


class FlagEmbedding:
    """The reference engine."""

    def __init__(self, folder: Path) -> None:
        from FlagEmbedding import BGEM3FlagModel, FlagReranker

        embedder, reranker = full_shape.write(folder)
        self._embedder = BGEM3FlagModel(str(embedder), use_fp16=False, devices="cpu")
        self._reranker = FlagReranker(str(reranker), use_fp16=False, devices="cpu")

    def embed(self, texts: list[str]) -> Floats:
        found = self._embedder.encode(
            texts,
            batch_size=BATCH,
            max_length=8192,
            return_dense=True,
            return_sparse=True,
            return_colbert_vecs=True,
        )
        return unit(found["dense_vecs"])

    def rerank(self, query: str, passages: list[str]) -> Any:
        pairs = [(query, passage) for passage in passages]
        return self._reranker.compute_score(pairs, batch_size=BATCH, max_length=8192)


class Transformers:
    """transformers with scaled dot product attention, texts sorted by length."""

    def __init__(self, folder: Path) -> None:
        import transformers

        embedder, reranker = full_shape.write(folder)
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(embedder)
        self._embedder = transformers.AutoModel.from_pretrained(
            embedder, dtype=torch.float32, attn_implementation="sdpa"
        ).eval()
        self._reranker = transformers.AutoModelForSequenceClassification.from_pretrained(
            reranker, dtype=torch.float32, attn_implementation="sdpa"
        ).eval()

    def embed(self, texts: list[str]) -> Floats:
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        rows = np.empty((len(texts), full_shape.WIDTH), np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                chosen = order[start : start + BATCH]
                read = self._tokenizer(
                    [texts[index] for index in chosen], padding=True, return_tensors="pt"
                )
                rows[chosen] = self._embedder(**read).last_hidden_state[:, 0].numpy()
        return unit(rows)

    def rerank(self, query: str, passages: list[str]) -> Any:
        read = self._tokenizer([query] * len(passages), passages, padding=True, return_tensors="pt")
        with torch.inference_mode():
            return self._reranker(**read).logits


class M3Serve:
    """m3serve with the same batch; its requests are single texts, as clients send them."""

    def __init__(self, folder: Path) -> None:
        import m3serve

        embedder, _ = full_shape.write(folder)
        self._loop = asyncio.new_event_loop()
        self._engine = m3serve.Engine(str(embedder), "cpu", use_fp16=False, max_batch_size=BATCH)
        self._loop.run_until_complete(self._engine.start())

    def embed(self, texts: list[str]) -> Floats:
        return unit(self._loop.run_until_complete(self._all(texts)))

    async def _all(self, texts: list[str]) -> list[Any]:
        asked = [
            self._engine.embed([text], return_sparse=True, return_colbert=True, timeout=600)
            for text in texts
        ]
        return [found.dense[0] for found in await asyncio.gather(*asked)]


class Infinity:
    """infinity's torch engine with the same batch: dense vectors only."""

    def __init__(self, folder: Path) -> None:
        from infinity_emb import AsyncEmbeddingEngine, EngineArgs

        self._loop = asyncio.new_event_loop()
        self._engine = AsyncEmbeddingEngine.from_args(
            EngineArgs(
                model_name_or_path=str(full_shape.write_layout(folder)),
                engine="torch",
                device="cpu",
                dtype="float32",
                batch_size=BATCH,
                bettertransformer=False,
                model_warmup=False,
            )
        )
        self._loop.run_until_complete(self._engine.astart())

    def embed(self, texts: list[str]) -> Floats:
        rows, _ = self._loop.run_until_complete(self._engine.embed(sentences=texts))
        return unit(rows)


class _Graph:
    """What the graph runtimes share: text by text, so nothing is padded; words looked up here."""

    def __init__(self, folder: Path) -> None:
        import tokenizers

        embedder, _ = full_shape.write(folder)
        self._tokenizer = tokenizers.Tokenizer.from_file(str(embedder / "tokenizer.json"))
        self.weights = full_shape.read(embedder)
        self._words = self.weights["embeddings.word_embeddings.weight"].numpy()
        self._places = self.weights["embeddings.position_embeddings.weight"].numpy()
        self._kind = self.weights["embeddings.token_type_embeddings.weight"].numpy()[0]

    def run(self, states: Floats) -> Floats:
        raise NotImplementedError

    def embed(self, texts: list[str]) -> Floats:
        return unit([self._first(self._tokenizer.encode(text).ids) for text in texts])

    def rerank(self, query: str, passages: list[str]) -> Any:
        return [self._first(self._tokenizer.encode(query, text).ids) for text in passages]

    def _first(self, ids: list[int]) -> Floats:
        states = self._words[ids] + self._places[2 : 2 + len(ids)] + self._kind
        return self.run(states[None])[0, 0]


class OpenVino(_Graph):
    """OpenVINO's CPU plugin; with int8 weights it also quantises activations in groups."""

    def __init__(self, folder: Path, *, int8: bool) -> None:
        import openvino

        super().__init__(folder)
        model = openvino.convert_model(
            full_shape.Layers(self.weights).eval(),
            example_input=torch.zeros(1, 16, full_shape.WIDTH),
            input=openvino.PartialShape([1, -1, full_shape.WIDTH]),
        )
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        if int8:
            _compress(model)
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 32
        self._run = openvino.Core().compile_model(model, "CPU", settings)

    def run(self, states: Floats) -> Floats:
        found: Floats = self._run(states)[0]
        return found


def _compress(model: Any) -> None:
    """Replace every weight by bytes and a scale a row (what nncf calls INT8_SYM)."""
    from openvino import opset13 as op

    for node in model.get_ops():
        if node.get_type_name() != "MatMul":
            continue
        source = node.input_value(1).get_node()
        if source.get_type_name() != "Constant" or len(source.shape) != 2:
            continue
        weight = source.data
        scale = np.abs(weight).max(axis=1, keepdims=True) / 127
        bytes_ = op.constant(np.round(weight / scale).astype(np.int8))
        wide = op.multiply(op.convert(bytes_, "f32"), op.constant(scale.astype(np.float32)))
        node.input(1).replace_source_output(wide.output(0))


class OnnxRuntime(_Graph):
    """onnxruntime with its dynamic int8 product and its fused attention."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        from bench.onnx_graph import int8_graph

        super().__init__(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(int8_graph(self.weights), options)

    def run(self, states: Floats) -> Floats:
        found: Floats = self._session.run(None, {"states": states})[0]
        return found


RIVALS: dict[str, Callable[[Path], Rival]] = {
    "ours fp32": lambda folder: _ours(folder, "float32"),
    "ours int8": lambda folder: _ours(folder, "int8"),
    "FlagEmbedding": FlagEmbedding,
    "transformers": Transformers,
    "m3serve": M3Serve,
    "infinity": Infinity,
    "openvino fp32": lambda folder: OpenVino(folder, int8=False),
    "openvino w8": lambda folder: OpenVino(folder, int8=True),
    "onnxruntime int8": OnnxRuntime,
}


def _run(rival: Rival, case: Case) -> None:
    if case.query_tokens:
        rival.rerank(case.query, case.texts)
    else:
        rival.embed(case.texts)


def main() -> None:
    """Load, then answer one line at a time."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(int(sys.argv[3]))
    answers, sys.stdout = sys.stdout, sys.stderr
    rival: Any = RIVALS[name](folder)
    rival.embed(full_shape.texts([12]))
    cases = {case.name: case for case in CASES}
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        start = time.perf_counter()
        if asked["do"] == "case":
            _run(rival, cases[asked["case"]])
            answer: Any = {"seconds": time.perf_counter() - start}
        elif asked["do"] == "save":
            rival.save(cases["mixed"].texts, asked["to"])
            answer = {}
        elif asked["do"] == "vectors":
            np.save(asked["to"], rival.embed(cases["mixed"].texts))
            answer = {}
        else:
            answer = {"flops": limits.product_flops(), "bytes": limits.read_bytes()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    # As a server does: in the main thread glibc gives the heap back after every pass, and whoever
    # allocates most (int8 in eager torch) would pay a third for it.
    worker = threading.Thread(target=main)
    worker.start()
    worker.join()
