"""Two branches, one of them loud, that meet in a sum or a Concat; and a head with a large bias."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from workbench.graph import Graph, build, fold

CHANNELS, LOUD = 8, 2


def branching(meet: str = "Add", times: float = 64.0, bias: float = 0.0) -> Graph:
    """Input (N, 1, 10, 10), five classes.

    Args:
        meet: "Add" or "Concat".
        times: how much larger the loud branch's first channels are; its other channels are 0. The
            head's weights for them are so much smaller.
        bias: of every class alike, which no class feels.
    """
    node = helper.make_node
    joined = {"axis": 1} if meet == "Concat" else {}
    nodes = [
        node("Conv", ["x", "stem.w", "stem.b"], ["stem"], "stem", pads=[1] * 4, strides=[2, 2]),
        node("Relu", ["stem"], ["stem.relu"], "stem.relu"),
        node("Conv", ["stem.relu", "quiet.w"], ["quiet"], "quiet"),
        node("Conv", ["stem.relu", "loud.w"], ["loud"], "loud"),
        node(meet, ["quiet", "loud"], ["met"], "met", **joined),
        node("Conv", ["met", "mix.w"], ["mix"], "mix"),
        node("Relu", ["mix"], ["mix.relu"], "mix.relu"),
        node("GlobalAveragePool", ["mix.relu"], ["pool"], "pool"),
        node("Flatten", ["pool"], ["flat"], "flat"),
        node("Gemm", ["flat", "head.w", "head.b"], ["logits"], "head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "branching",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 10, 10])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(v, name) for name, v in _weights(meet, times, bias).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return build(fold(ir.from_proto(model))[0])


def _weights(meet: str, times: float, bias: float) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    first = CHANNELS if meet == "Concat" else 0
    width = first + CHANNELS
    shapes = {
        "stem.w": (CHANNELS, 1, 3, 3), "stem.b": (CHANNELS,), "quiet.w": (CHANNELS, CHANNELS, 1, 1),
        "loud.w": (CHANNELS, CHANNELS, 1, 1), "mix.w": (CHANNELS, width, 1, 1),
        "head.w": (5, CHANNELS),
    }  # fmt: skip
    found = {n: rng.standard_normal(s).astype(np.float32) * 0.4 for n, s in shapes.items()}
    found["loud.w"][:LOUD] *= times
    found["loud.w"][LOUD:] = 0
    found["mix.w"][:, first : first + LOUD] /= times
    found["head.b"] = np.full(5, bias, np.float32)
    return found
