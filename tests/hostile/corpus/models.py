"""Small models with parts replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def weight(name: str = "w", value: float = 1.0) -> onnx.TensorProto:
    return numpy_helper.from_array(np.eye(3, dtype=np.float32) * np.float32(value), name)


def model(
    nodes: list[onnx.NodeProto] | None = None,
    weights: list[onnx.TensorProto] | None = None,
    opsets: dict[str, int] | None = None,
) -> onnx.ModelProto:
    """y = relu(x w), (n, 3) to (n, 3), with parts replaced."""
    graph = helper.make_graph(
        nodes or [matmul("x", "w", "h"), helper.make_node("Relu", ["h"], ["y"], name="relu")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [weight()] if weights is None else weights,
    )
    imports = [helper.make_opsetid(d, v) for d, v in (opsets or {"": 21}).items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def matmul(x: str, w: str, y: str, name: str = "matmul") -> onnx.NodeProto:
    return helper.make_node("MatMul", [x, w], [y], name=name)


def save(proto: onnx.ModelProto | bytes, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializePartialToString())
    return path


def external(location: str, length: str | None = "36", offset: str | None = "0") -> onnx.ModelProto:
    """The model with its weight in another file."""
    proto = model()
    outside(proto.graph.initializer[0], location, length, offset)
    return proto


def outside(
    tensor: onnx.TensorProto, location: str, length: str | None = "36", offset: str | None = "0"
) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", length), ("offset", offset)):
        if value is not None:
            tensor.external_data.add(key=key, value=value)


EYE = np.eye(3, dtype=np.float32).tobytes()


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(content)) + content
