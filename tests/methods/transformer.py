"""A small vision transformer written as ONNX: patches, one block with two heads, a classifier."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from workbench.graph import Graph, build, fold

WIDTH, HEADS, TOKENS, HIDDEN, CLASSES = 16, 2, 25, 32, 5


def _constants(rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {
        "patch.w": (WIDTH, 1, 2, 2), "patch.b": (WIDTH,),
        **{f"{name}.w": (WIDTH, WIDTH) for name in ("query", "key", "value", "project")},
        **{f"{name}.b": (WIDTH,) for name in ("query", "value", "project", "shrink")},
        "expand.w": (WIDTH, HIDDEN), "expand.b": (HIDDEN,), "shrink.w": (HIDDEN, WIDTH),
        "head.w": (CLASSES, WIDTH), "head.b": (CLASSES,),
        **{f"norm{i}.b": (WIDTH,) for i in (1, 2)},
    }  # fmt: skip
    held = {n: rng.standard_normal(s).astype(np.float32) * 0.35 for n, s in shapes.items()}
    for index in (1, 2):  # a few channels far larger than the others, as trained ones have
        held[f"norm{index}.w"] = np.exp(rng.standard_normal(WIDTH)).astype(np.float32)
    held["query.w"] *= 3  # attention that decides
    return held


def transformer() -> Graph:
    """Pre-norm attention and MLP; the input is that of the other nets, (N, 1, 10, 10).

    The key has no bias, so that both kinds of linear layer are there.
    """
    node = helper.make_node
    heads = [
        node("Reshape", [f"{name}.out", "heads"], [f"{name}.split"], f"{name}.split")
        for name in ("query", "key", "value")
    ]
    turned = {"query": [0, 2, 1, 3], "key": [0, 2, 3, 1], "value": [0, 2, 1, 3]}
    heads += [
        node("Transpose", [f"{name}.split"], [f"{name}.heads"], f"{name}.heads", perm=perm)
        for name, perm in turned.items()
    ]
    nodes = [
        node("Conv", ["x", "patch.w", "patch.b"], ["patch"], "patch", strides=[2, 2]),
        node("Reshape", ["patch", "flat"], ["patches"], "patches"),
        node("Transpose", ["patches"], ["tokens"], "tokens", perm=[0, 2, 1]),
        node("LayerNormalization", ["tokens", "norm1.w", "norm1.b"], ["norm1"], "norm1"),
        *_linear("query", "norm1", "query.out"),
        node("MatMul", ["norm1", "key.w"], ["key.out"], "key"),
        *_linear("value", "norm1", "value.out"),
        *heads,
        node("MatMul", ["query.heads", "key.heads"], ["scores"], "scores"),
        node("Mul", ["scores", "shrunk"], ["scaled"], "scaled"),
        node("Softmax", ["scaled"], ["attention"], "attention", axis=-1),
        node("MatMul", ["attention", "value.heads"], ["mixed"], "mixed"),
        node("Transpose", ["mixed"], ["mixed.turned"], "mixed.turned", perm=[0, 2, 1, 3]),
        node("Reshape", ["mixed.turned", "joined"], ["mixed.joined"], "mixed.joined"),
        *_linear("project", "mixed.joined", "projected"),
        node("Add", ["tokens", "projected"], ["sum1"], "sum1"),
        node("LayerNormalization", ["sum1", "norm2.w", "norm2.b"], ["norm2"], "norm2"),
        *_linear("expand", "norm2", "expanded"),
        node("Gelu", ["expanded"], ["gelu"], "gelu"),
        *_linear("shrink", "gelu", "shrunk.out"),
        node("Add", ["sum1", "shrunk.out"], ["sum2"], "sum2"),
        node("ReduceMean", ["sum2", "axis"], ["pooled"], "pooled", keepdims=0),
        node("Gemm", ["pooled", "head.w", "head.b"], ["logits"], "head", transB=1),
    ]  # fmt: skip
    held: dict[str, np.ndarray] = {
        **_constants(np.random.default_rng(2)),
        "flat": np.array([0, WIDTH, TOKENS]),
        "heads": np.array([0, TOKENS, HEADS, WIDTH // HEADS]),
        "joined": np.array([0, TOKENS, WIDTH]),
        "shrunk": np.array((WIDTH / HEADS) ** -0.5, np.float32),
        "axis": np.array([1]),
    }
    graph = helper.make_graph(
        nodes,
        "transformer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 10, 10])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    return build(fold(ir.from_proto(model))[0])


def _linear(name: str, source: str, output: str) -> list[onnx.NodeProto]:
    """A MatMul and the Add of its bias."""
    return [
        helper.make_node("MatMul", [source, f"{name}.w"], [f"{name}.product"], name),
        helper.make_node("Add", [f"{name}.product", f"{name}.b"], [output], f"{name}.add"),
    ]
