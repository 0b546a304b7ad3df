"""Files that are quantized already are known as such."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import workbench
from workbench.foundation.errors import ModelError
from workbench.graph.stored import stored_form
from workbench.session.execute import Extent

NODE = helper.make_node
QDQ = (
    [
        NODE("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        NODE("DequantizeLinear", ["q", "s", "z"], ["xd"], "dq"),
        NODE("DequantizeLinear", ["w", "s", "z"], ["wd"], "dw"),
        NODE("MatMul", ["xd", "wd"], ["y"], "mix"),
    ],
    {"w": np.eye(4, dtype=np.int8), "s": np.float32(0.1), "z": np.int8(0)},
    "QDQ, 1 weight stored as int8",
)
PACKED = (
    [
        NODE(
            "MatMulNBits",
            ["x", "w", "s"],
            ["y"],
            "mix",
            domain="com.microsoft",
            K=4,
            N=4,
            bits=4,
            block_size=16,
        )
    ],
    {"w": np.zeros((4, 1, 8), np.uint8), "s": np.ones(4, np.float32)},
    "MatMulNBits, 1 weight stored as uint4",
)


def model_of(nodes: list, held: dict) -> ir.Model:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(made))


@pytest.mark.parametrize(("nodes", "held", "form"), [QDQ, PACKED], ids=["qdq", "packed"])
def test_a_quantized_file_is_recognised_and_not_quantized_again(nodes, held, form) -> None:
    model = model_of(nodes, held)
    assert stored_form(model) == form
    session = workbench.open(model, data=np.random.default_rng(0).random((8, 4), np.float32))
    assert session.about()["quantized"].startswith(f"already quantized ({form})")
    with pytest.raises(ModelError, match="already quantized"):
        session.quantize(8, 8, "rtn")


def test_a_float_model_is_not_quantized_yet_and_its_export_is(tmp_path: Path) -> None:
    nodes = [NODE("MatMul", ["x", "w"], ["y"], "mix")]
    model = model_of(nodes, {"w": np.eye(4, dtype=np.float32)})
    session = workbench.open(model, data=np.random.default_rng(0).random((8, 4), np.float32))
    assert session.about()["quantized"] == ""
    extent = Extent(naive=False, layers=False, verify=False, latency=False)
    run = session.quantize(8, 8, "rtn", out=tmp_path / "run", extent=extent)
    assert (
        "by the workbench, 1 weight of 7 bits"
        in workbench.open(run.directory / "model.onnx").already
    )
