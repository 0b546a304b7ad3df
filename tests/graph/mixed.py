"""A small network with what targets care about: pools, a Concat, a gate, movers, a Resize."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from workbench.graph import fold
from workbench.graph.build import Graph, build
from workbench.graph.quantized import QuantizedGraph
from workbench.methods.base import Task
from workbench.methods.registry import make

EXAMPLES = 8


def mixed() -> Graph:
    """x -> Conv, Relu -> MaxPool -> two Convs -> Concat -> gate -> Resize -> Gemm -> Softmax."""
    rng = np.random.default_rng(3)
    sizes = {
        "stem.w": (4, 1, 3, 3),
        "left.w": (4, 4, 1, 1),
        "right.w": (4, 4, 1, 1),
        "gate.w": (8, 8, 1, 1),
        "depth.w": (8, 1, 3, 3),
        "head.w": (5, 8 * 64),
        "head.b": (5,),
    }
    held = {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    held["right.w"] *= 10  # so that the two sides of the Concat have ranges of their own
    held["scales"] = np.array([1, 1, 2, 2], np.float32)
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "stem.w"], ["stem"], "stem", pads=[1] * 4),
        node("Relu", ["stem"], ["stem.relu"], "stem.relu"),
        node("MaxPool", ["stem.relu"], ["pool"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["pool", "left.w"], ["left"], "left"),
        node("Conv", ["pool", "right.w"], ["right"], "right"),
        node("Concat", ["left", "right"], ["cat"], "cat", axis=1),
        node("GlobalAveragePool", ["cat"], ["mean"], "mean"),
        node("Conv", ["mean", "gate.w"], ["gate"], "gate"),
        node("Sigmoid", ["gate"], ["sigmoid"], "sigmoid"),
        node("Mul", ["cat", "sigmoid"], ["gated"], "gated"),
        node("Conv", ["gated", "depth.w"], ["depth"], "depth", pads=[1] * 4, group=8),
        node("Resize", ["depth", "", "scales"], ["up"], "up", mode="nearest"),
        node("Transpose", ["up"], ["turned"], "turned", perm=[0, 2, 3, 1]),
        node("Flatten", ["turned"], ["flat"], "flat"),
        node("Gemm", ["flat", "head.w", "head.b"], ["logits"], "head", transB=1),
        node("Softmax", ["logits"], ["y"], "softmax"),
    ]
    return graph_of(nodes, held, ["batch", 1, 8, 8], "y")


def graph_of(nodes: list, held: dict[str, np.ndarray], shape: list, output: str) -> Graph:
    """A folded graph with input x."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in held.items()],
        ),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    return build(fold(ir.from_proto(onnx.shape_inference.infer_shapes(model)))[0])


def inputs(seed: int = 0, count: int = EXAMPLES) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def task(count: int = EXAMPLES) -> Task:
    """Calibration on two batches of `inputs()`."""
    return Task(lambda: ((part,) for part in inputs().split(count // 2)), count)


def calibrated(model: QuantizedGraph) -> QuantizedGraph:
    """After round to nearest on min-max ranges."""
    options = {"calibrator": "minmax", "weight_calibrator": "minmax"}
    for _ in make("rtn", options).learn(model, task()):
        pass
    return model


def kernels(path: Path) -> Counter[str]:
    """Operators of the graph that ONNX Runtime runs, after all its optimisations."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    optimised = path.with_suffix(".optimised.onnx")
    options.optimized_model_filepath = str(optimised)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(str(optimised)).graph.node)
