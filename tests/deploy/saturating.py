"""A small model quantized by ONNX Runtime's own tool, and kernels that saturate on any machine.

A MatMul of uint8 data with int8 weights is replaced, node for node, by what an x86 processor
without VNNI computes: products are summed in pairs along K, each sum is clipped to 16 bits, and the
clipped sums are added. The graph runs in the real ONNX Runtime under the same tensor names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from tests.deploy import small
from workbench.deploy import runtime

WIDTH = 64


def data(count: int, seed: int = 0, shape: Sequence[int] = (WIDTH,)) -> torch.Tensor:
    """Inputs in the upper half of their range, so that codes are large: (count, *shape)."""
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.uniform(0.5, 1.0, (count, *shape)).astype(np.float32))


class _Reader(CalibrationDataReader):
    def __init__(self, shape: list[int]) -> None:
        self.left = [data(16, seed, shape[1:]) for seed in range(4)]

    def get_next(self) -> dict[str, Any] | None:  # type: ignore[override]
        return {"x": self.left.pop().numpy()} if self.left else None


def files(
    folder: Path, *, model: ir.Model | None = None, integer: bool = False
) -> tuple[Path, Path]:
    """(float, quantized): by default x -> MatMul -> Relu -> MatMul -> y, weights WIDTH by WIDTH.

    With `integer`, in integer operators instead of pairs.
    """
    float_path, path = folder / "float.onnx", folder / "quantized.onnx"
    proto = ir.to_proto(model or small.two_matmuls(WIDTH))
    onnx.save(proto, float_path)
    quantize_static(
        str(float_path),
        str(path),
        _Reader([size.dim_value for size in proto.graph.input[0].type.tensor_type.shape.dim]),
        quant_format=QuantFormat.QOperator if integer else QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return float_path, path


def open_session(model: runtime.Model, **options: Any) -> ort.InferenceSession:
    """As `runtime.open_session` on a processor whose default int8 kernels saturate."""
    config = options.get("config") or {}
    exact = options.get("exact") or "session.x64quantprecision" in config
    plain = not options.get("optimise", True) or exact or "session.disable_quant_qdq" in config
    return runtime.open_session(model if plain else saturating(model), **options)


def saturating(model: runtime.Model) -> bytes:
    """The model with saturating sums in its quantized MatMuls."""
    proto = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(str(model))
    made = {output: node for node in proto.graph.node for output in node.output}
    held = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    nodes = []
    for node in proto.graph.node:
        pairs = [made.get(name) for name in node.input]
        right = pairs[1] if node.op_type == "MatMul" else None
        if right is None or held[right.input[0]].dtype != np.int8:
            nodes.append(node)
            continue
        stored, added = _saturating(node, pairs[0], held[right.input[0]], held[right.input[1]])
        nodes += added
        proto.graph.initializer.extend(stored)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto.SerializeToString()


def _saturating(
    node: onnx.NodeProto, data_pair: onnx.NodeProto, codes: np.ndarray, scale: np.ndarray
) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    """Σ over pairs of clip16(Σ over the pair of x w), minus zero-point times Σ w, scaled."""
    x, x_scale, x_zero = data_pair.input
    name = node.output[0]
    depth, width = codes.shape
    stored = {
        "w": codes.astype(np.float32).reshape(1, depth // 2, 2, width),
        "shape": np.array([-1, depth // 2, 2, 1]),
        "pair": np.array([2]),
        "all": np.array([1]),
        "low": np.float32(-32768),
        "high": np.float32(32767),
        "sums": codes.astype(np.float32).sum(0),
        "scale": scale.astype(np.float32),
    }
    at = {key: f"{name}__{key}" for key in stored}

    def make(op: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(op, inputs, [f"{name}__{output}"], **attributes)

    made = [
        make("Cast", [x], "x", to=TensorProto.FLOAT),
        make("Reshape", [f"{name}__x", at["shape"]], "spread"),
        make("Mul", [f"{name}__spread", at["w"]], "products"),
        make("ReduceSum", [f"{name}__products", at["pair"]], "wide", keepdims=0),
        make("Clip", [f"{name}__wide", at["low"], at["high"]], "clipped"),
        make("ReduceSum", [f"{name}__clipped", at["all"]], "raw", keepdims=0),
        make("Cast", [x_zero], "zero", to=TensorProto.FLOAT),
        make("Mul", [at["sums"], f"{name}__zero"], "offset"),
        make("Sub", [f"{name}__raw", f"{name}__offset"], "sum"),
        make("Mul", [f"{name}__sum", at["scale"]], "half"),
        helper.make_node("Mul", [f"{name}__half", x_scale], [name], name=node.name),
    ]
    return [numpy_helper.from_array(np.asarray(v), at[k]) for k, v in stored.items()], made
