"""The encoder's layers as an onnxruntime graph, with its own int8 product and fused attention."""

from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from bench.full_shape import HEADS, LAYERS, WIDTH

_OURS = "com.microsoft"


def int8_graph(weights: dict[str, torch.Tensor]) -> bytes:
    """Write the graph: states in, states out, 1 x tokens x width."""
    return _Writer(weights).graph().SerializeToString()


class _Writer:
    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def graph(self) -> Any:
        x = self._norm("states", "embeddings.LayerNorm")
        for index in range(LAYERS):
            x = self._layer(x, f"encoder.layer.{index}.")
        shape = [1, "tokens", WIDTH]
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("states", x)
        ]
        graph = helper.make_graph(self._nodes, "layers", ends[:1], ends[1:], self._constants)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(_OURS, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def _layer(self, x: str, layer: str) -> str:
        parts = [
            self._linear(x, f"{layer}attention.self.{name}") for name in ("query", "key", "value")
        ]
        mixed = self._node("MultiHeadAttention", parts, domain=_OURS, num_heads=HEADS)
        x = self._add(x, self._linear(mixed, f"{layer}attention.output.dense"))
        x = self._norm(x, f"{layer}attention.output.LayerNorm")
        wide = self._linear(x, f"{layer}intermediate.dense")
        wide = self._node("Gelu", [wide], domain=_OURS)
        x = self._add(x, self._linear(wide, f"{layer}output.dense"))
        return self._norm(x, f"{layer}output.LayerNorm")

    def _linear(self, x: str, name: str) -> str:
        weight = self._weights[f"{name}.weight"].numpy().T
        scale = np.abs(weight).max(axis=0) / 127
        quantized = np.round(weight / scale).astype(np.int8)
        inputs = [
            x,
            self._constant(f"{name}.bytes", np.ascontiguousarray(quantized)),
            self._constant(f"{name}.scale", scale.astype(np.float32)),
            "",
            self._constant(f"{name}.bias", self._weights[f"{name}.bias"].numpy()),
        ]
        return self._node("DynamicQuantizeMatMul", inputs, domain=_OURS)

    def _norm(self, x: str, name: str) -> str:
        inputs = [
            self._constant(f"{name}.{kind}", self._weights[f"{name}.{kind}"].numpy())
            for kind in ("weight", "bias")
        ]
        return self._node("LayerNormalization", [x, *inputs], axis=-1, epsilon=1e-5)

    def _add(self, x: str, y: str) -> str:
        return self._node("Add", [x, y])

    def _constant(self, name: str, value: Any) -> str:
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def _node(self, kind: str, inputs: list[str], **facts: Any) -> str:
        name = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], name, **facts))
        return name
