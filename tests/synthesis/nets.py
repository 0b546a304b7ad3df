"""A small convolutional network whose batch norms know its training data, and token models."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from workbench.graph import Graph, build, fold

SIDE = 12
EPSILON = 1e-5


def pictures(count: int = 64, seed: int = 0) -> Tensor:
    """Bright bars on dark ground, (count, 1, 12, 12), far from normal noise but normalized."""
    chance = torch.Generator().manual_seed(seed)
    x = torch.zeros(count, 1, SIDE, SIDE)
    for one in x:
        across, at = (
            torch.randint(2, (1,), generator=chance),
            torch.randint(10, (1,), generator=chance),
        )
        one[0].narrow(int(across), int(at), 3).fill_(1.0)
    return (x - 0.25) / 0.43


def convolutional(leading: bool = False) -> ir.Model:
    """Conv, norm, Relu, strided Conv, norm, Relu, pool, Gemm; the norms have seen `pictures`.

    Args:
        leading: with a further norm before a padded convolution, which cannot be folded.
    """
    chance = torch.Generator().manual_seed(3)
    first = 0.5 * torch.randn((8, 1, 3, 3), generator=chance)
    second = 0.2 * torch.randn((8, 8, 3, 3), generator=chance)
    head = 0.5 * torch.randn((4, 8), generator=chance)
    x = pictures(256, seed=1)
    held, nodes = {"first.w": first, "second.w": second, "head.w": head}, []

    def norm(name: str, source: str, target: str, value: Tensor) -> Tensor:
        size = value.shape[1]
        var, mean = torch.var_mean(value, (0, 2, 3), unbiased=False)
        parts = {
            "gamma": 0.5 + torch.rand(size, generator=chance),
            "beta": 0.3 * torch.randn(size, generator=chance),
            "mean": mean,
            "var": var,
        }
        held.update({f"{name}.{part}": tensor for part, tensor in parts.items()})
        inputs = [source, *(f"{name}.{part}" for part in parts)]
        nodes.append(helper.make_node("BatchNormalization", inputs, [target], name))
        return F.batch_norm(value, mean, var, parts["gamma"], parts["beta"], False, 0.0, EPSILON)

    def relu(source: str, target: str) -> None:
        nodes.append(helper.make_node("Relu", [source], [target], target))

    source = "x"
    if leading:
        x, source = norm("leading", "x", "normed", x), "normed"
    nodes.append(helper.make_node("Conv", [source, "first.w"], ["a"], "first", pads=[1] * 4))
    x = norm("one", "a", "b", F.conv2d(x, first, padding=1)).relu()
    relu("b", "c")
    nodes.append(
        helper.make_node("Conv", ["c", "second.w"], ["d"], "second", pads=[1] * 4, strides=[2, 2])
    )
    norm("two", "d", "e", F.conv2d(x, second, padding=1, stride=2))
    relu("e", "f")
    nodes += [
        helper.make_node("GlobalAveragePool", ["f"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["h"], "flat"),
        helper.make_node("Gemm", ["h", "head.w"], ["logits"], "head", transB=1),
    ]
    return _model(nodes, held, ("x", TensorProto.FLOAT, ["n", 1, SIDE, SIDE]), ["n", 4])


def language(forwards: bool = True) -> ir.Model:
    """Eleven tokens, texts of six: a table, a (causal) mean over the text, logits."""
    chance = torch.Generator().manual_seed(0)
    mean = torch.ones(6, 6).tril() if forwards else torch.ones(6, 6)
    held = {
        "table": torch.randn((11, 4), generator=chance),
        "mean": mean / mean.sum(1, keepdim=True),
        "head.w": 2 * torch.randn((4, 11), generator=chance),
    }
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["a"], "look"),
        helper.make_node("MatMul", ["mean", "a"], ["b"], "mix"),
        helper.make_node("MatMul", ["b", "head.w"], ["logits"], "head"),
    ]
    return _model(nodes, held, ("x", TensorProto.INT64, ["n", 6]), ["n", 6, 11])


def graph(model: ir.Model) -> Graph:
    """Folded and built."""
    return build(fold(model)[0])


def _model(nodes: list, held: dict[str, Tensor], given: tuple, output: list) -> ir.Model:
    tensors = [numpy_helper.from_array(np.asarray(v), name) for name, v in held.items()]
    made = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(*given)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, output)],
        tensors,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    return ir.from_proto(model)
