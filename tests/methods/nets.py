"""A small network with every kind of layer that the learners treat apart, written as ONNX."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import TensorProto, helper, numpy_helper

from workbench.graph import Graph, build, fold
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import ActivationGrid, WeightGrid, target
from workbench.methods.base import Task

EXAMPLES = 48
BATCH = 16


def _weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {
        "stem.w": (8, 1, 3, 3), "stem.b": (8,), "depth.w": (8, 1, 3, 3), "depth.b": (8,),
        "point.w": (8, 8, 1, 1), "point.b": (8,), "mix.w": (8, 12), "mix.b": (12,),
        "head.w": (5, 12), "head.b": (5,),
    }  # fmt: skip
    found = {n: rng.standard_normal(s).astype(np.float32) * 0.4 for n, s in shapes.items()}
    found["depth.w"][3] *= 6  # one channel much larger than the others, as after folding
    return found


def network() -> Graph:
    """Conv, depthwise, pointwise with a residual, MatMul + Add, Gemm; input (N, 1, 10, 10)."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "stem.w", "stem.b"], ["stem"], "stem", pads=[1] * 4, strides=[2, 2]),
        node("Relu", ["stem"], ["stem.relu"], "stem.relu"),
        node(
            "Conv", ["stem.relu", "depth.w", "depth.b"], ["depth"], "depth", pads=[1] * 4, group=8
        ),
        node("Relu", ["depth"], ["depth.relu"], "depth.relu"),
        node("Conv", ["depth.relu", "point.w", "point.b"], ["point"], "point"),
        node("Add", ["point", "stem.relu"], ["sum"], "sum"),
        node("GlobalAveragePool", ["sum"], ["pool"], "pool"),
        node("Flatten", ["pool"], ["flat"], "flat"),
        node("MatMul", ["flat", "mix.w"], ["mix"], "mix"),
        node("Add", ["mix", "mix.b"], ["mixed"], "mix.add"),
        node("Gelu", ["mixed"], ["gelu"], "gelu"),
        node("Gemm", ["gelu", "head.w", "head.b"], ["logits"], "head", transB=1),
    ]
    held = _weights(np.random.default_rng(0))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 10, 10])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    return build(fold(ir.from_proto(model))[0])


def recurrent() -> Graph:
    """A GRU over four frames of 25 values, then a classifier; the same input as `network`."""
    rng = np.random.default_rng(1)
    node = helper.make_node
    size, inputs = 8, 25
    shapes = {"gru.w": (1, 3 * size, inputs), "gru.r": (1, 3 * size, size), "head.w": (5, size)}
    held = {n: rng.standard_normal(s).astype(np.float32) * 0.4 for n, s in shapes.items()}
    nodes = [
        node("Reshape", ["x", "rows"], ["frames"], "frames"),
        node("Transpose", ["frames"], ["time"], "time", perm=[1, 0, 2]),
        node("GRU", ["time", "gru.w", "gru.r"], ["states", "last"], "gru", hidden_size=size,
             linear_before_reset=1),
        node("Squeeze", ["last", "axis"], ["hidden"], "hidden"),
        node("Gemm", ["hidden", "head.w"], ["logits"], "head", transB=1),
    ]  # fmt: skip
    constants = {"rows": np.array([-1, 4, inputs]), "axis": np.array([0])}
    graph = helper.make_graph(
        nodes,
        "recurrent",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 10, 10])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(value, name) for name, value in {**held, **constants}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    return build(fold(ir.from_proto(model))[0])


def examples(seed: int = 0, count: int = EXAMPLES) -> torch.Tensor:
    """Smooth inputs, so that neighbouring pixels and channels are correlated."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 1, 12, 12, generator=generator)
    return torch.nn.functional.avg_pool2d(noise, 3, 1) * 3


def quantized(graph: Graph, bits: int = 3, activations: int | None = 8) -> QuantizedGraph:
    """With plain quantizers on all sites; every layer at `bits`."""
    place = target("ort-cpu" if activations else "weight-only")
    active = ActivationGrid(bits=activations) if activations else None
    return QuantizedGraph(graph, place.sites(graph, WeightGrid(bits=bits), active, edges=None))


def labelled(graph: Graph) -> Iterator[tuple[tuple[torch.Tensor, ...], torch.Tensor]]:
    """`examples()` in batches, with the class that the float network puts first."""
    for part in examples().split(BATCH):
        with torch.no_grad():
            yield (part,), graph.module(part)[0].argmax(-1)


def task(**fields: object) -> Task:
    """Calibration on `examples()`."""
    inputs = examples()
    return Task(lambda: ((part,) for part in inputs.split(BATCH)), EXAMPLES, **fields)
