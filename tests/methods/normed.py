"""A small network whose batch norms hold the statistics of its examples, then folded."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional

from tests.methods.nets import examples
from workbench.graph import Graph, build, fold

#: name, weight shape, groups, what follows the norm
LAYERS = (
    ("stem", (8, 1, 3, 3), 1, "Clip"),
    ("depth", (8, 1, 3, 3), 8, "Relu"),
    ("point", (12, 8, 1, 1), 1, "Relu"),
)


def normed() -> Graph:
    """Conv, depthwise and pointwise, each with a norm; then a pool and Gemm; input (N, 1, 10, 10).

    The channels of the depthwise layer differ much in size, so that nearest rounding shifts them.
    """
    generator = torch.Generator().manual_seed(0)
    held: dict[str, Tensor] = {"low": torch.tensor(0.0), "high": torch.tensor(6.0)}
    nodes, value, x = [], "x", examples(seed=7, count=400)
    for name, shape, groups, after in LAYERS:
        weight = torch.randn(shape, generator=generator) * 0.5
        x = functional.conv2d(x, weight, groups=groups)
        own = _norm(x, generator)
        held |= {f"{name}.w": weight, **{f"{name}.{key}": part for key, part in own.items()}}
        x = functional.batch_norm(x, own["mean"], own["var"], own["gamma"], own["beta"])
        x = x.clamp(0, 6) if after == "Clip" else x.relu()
        norm = [f"{name}.conv", *(f"{name}.{key}" for key in ("gamma", "beta", "mean", "var"))]
        limits = ["low", "high"] if after == "Clip" else []
        convolve = [value, f"{name}.w"]
        nodes += [
            helper.make_node("Conv", convolve, [f"{name}.conv"], name, group=groups),
            helper.make_node("BatchNormalization", norm, [f"{name}.norm"], f"{name}.norm"),
            helper.make_node(after, [f"{name}.norm", *limits], [f"{name}.out"], f"{name}.act"),
        ]
        value = f"{name}.out"
    held |= {"head.w": torch.randn(5, 12, generator=generator), "head.b": torch.zeros(5)}
    nodes += [
        helper.make_node("GlobalAveragePool", [value], ["pool"], "pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "head.w", "head.b"], ["logits"], "head", transB=1),
    ]
    return _built(nodes, held)


def _norm(x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    channels = x.shape[1]
    return {
        "gamma": 0.5 + torch.rand(channels, generator=generator),
        "beta": 0.5 * torch.randn(channels, generator=generator),
        "mean": x.mean((0, 2, 3)),
        "var": x.var((0, 2, 3)),
    }


def _built(nodes: list[onnx.NodeProto], held: dict[str, Tensor]) -> Graph:
    graph = helper.make_graph(
        nodes,
        "normed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 10, 10])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(value.numpy(), name) for name, value in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    return build(fold(ir.from_proto(model))[0])
