"""Tiny models, one per kind of layer, and their quantized graphs."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from workbench.graph.build import Graph, build
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.graph.taps import capture
from workbench.graph.targets import ActivationGrid, Override, WeightGrid, target

OUT, IN, BATCH = 6, 8, "batch"
# operator, attributes, input shape, weight shapes, bias size
_PLANS: dict[str, tuple[str, dict, tuple, list[tuple[int, ...]], int]] = {
    "conv": ("Conv", {"pads": [1] * 4}, (BATCH, IN, 5, 5), [(OUT, IN, 3, 3)], OUT),
    "conv1d": ("Conv", {}, (BATCH, IN, 7), [(OUT, IN, 3)], OUT),
    "conv3d": ("Conv", {}, (BATCH, IN, 3, 4, 3), [(OUT, IN, 2, 2, 2)], OUT),
    "grouped": ("Conv", {"group": 2}, (BATCH, IN, 4, 4), [(OUT, IN // 2, 3, 3)], OUT),
    "depthwise": ("Conv", {"group": IN}, (BATCH, IN, 5, 5), [(IN, 1, 3, 3)], IN),
    "transposed": ("ConvTranspose", {}, (BATCH, IN, 4, 4), [(IN, OUT, 2, 2)], OUT),
    "transposed-grouped": (
        "ConvTranspose", {"group": 2}, (BATCH, IN, 4, 4), [(IN, OUT // 2, 2, 2)], OUT
    ),
    "gemm": ("Gemm", {}, (BATCH, IN), [(IN, OUT)], OUT),
    "gemm-a": ("Gemm", {"transA": 1}, (IN, BATCH), [(IN, OUT)], OUT),
    "gemm-b": ("Gemm", {"transB": 1}, (BATCH, IN), [(OUT, IN)], OUT),
    "gemm-ab": ("Gemm", {"transA": 1, "transB": 1}, (IN, BATCH), [(OUT, IN)], OUT),
    "matmul": ("MatMul", {}, (BATCH, IN), [(IN, OUT)], 0),
    "matmul-left": ("MatMul", {}, (BATCH, IN, 3), [(OUT, IN)], 0),
    "matmul-batched": ("MatMul", {}, (BATCH, 3, 2, IN), [(3, IN, OUT)], 0),
    "gru": ("GRU", {"hidden_size": 4}, ("time", BATCH, IN), [(1, 12, IN), (1, 12, 4)], 0),
    "gru-both": (
        "GRU", {"hidden_size": 4, "direction": "bidirectional"}, ("time", BATCH, IN),
        [(2, 12, IN), (2, 12, 4)], 0,
    ),
    "lstm": ("LSTM", {"hidden_size": 4}, ("time", BATCH, IN), [(1, 16, IN), (1, 16, 4)], 0),
    "rnn": ("RNN", {"hidden_size": 4}, ("time", BATCH, IN), [(1, 4, IN), (1, 4, 4)], 0),
    "embedding": ("Gather", {}, (BATCH, 3), [(11, IN)], 0),
}  # fmt: skip
KINDS = tuple(_PLANS)
RECURRENT = ("GRU", "LSTM", "RNN")


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def one_layer(kind: str, *, opset: int = 21, batch: str | int = BATCH) -> ir.Model:
    """x -> layer -> Relu -> y."""
    op, attributes, shape, weights, bias = _PLANS[kind]
    names = ["w", "r"][: len(weights)]
    initial = [numpy_helper.from_array(random(*s), n) for s, n in zip(weights, names, strict=True)]
    inputs = ["w", "x"] if kind in ("matmul-left", "embedding") else ["x", *names]
    if bias:
        initial.append(numpy_helper.from_array(random(bias), "b"))
        inputs.append("b")
    nodes = [
        helper.make_node(op, inputs, ["h"], name="layer", **attributes),
        helper.make_node("LeakyRelu" if op == "Gather" else "Relu", ["h"], ["y"], name="relu"),
    ]
    sizes = tuple(batch if size == BATCH else size for size in shape)
    integers = TensorProto.INT64 if op == "Gather" else TensorProto.FLOAT
    return wrap(nodes, sizes, initial, opset, integers)


def two_convolutions(*, zero: bool = False) -> ir.Model:
    """x -> Conv -> Clip(0, 6) -> depthwise Conv -> Relu -> mean -> Gemm -> y."""
    initial = {
        "w1": random(IN, 3, 3, 3, seed=1),
        "b1": random(IN, seed=2),
        "low": np.float32(0),
        "high": np.float32(6),
        "w2": random(IN, 1, 3, 3, seed=3),
        "b2": random(IN, seed=4),
        "axes": np.array([2, 3]),
        "w3": random(5, IN, seed=5) * (not zero),
        "b3": random(5, seed=6) * (not zero),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["h1"], name="first"),
        helper.make_node("Clip", ["h1", "low", "high"], ["a1"], name="relu6"),
        helper.make_node("Conv", ["a1", "w2", "b2"], ["h2"], name="second", group=IN),
        helper.make_node("Relu", ["h2"], ["a2"], name="relu"),
        helper.make_node("ReduceMean", ["a2", "axes"], ["pooled"], name="pool", keepdims=0),
        helper.make_node("Gemm", ["pooled", "w3", "b3"], ["y"], name="head", transB=1),
    ]
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in initial.items()]
    return wrap(nodes, ("batch", 3, 9, 9), tensors)


def last_state() -> ir.Model:
    """x -> GRU -> y, where y is the last state; the sequence of states has no name."""
    tensors = [
        numpy_helper.from_array(random(1, 12, IN), "w"),
        numpy_helper.from_array(random(1, 12, 4), "r"),
    ]
    node = helper.make_node("GRU", ["x", "w", "r"], ["", "y"], name="layer", hidden_size=4)
    return wrap([node], (3, "batch", IN), tensors)


def two_matmuls(width: int = 64) -> ir.Model:
    """x -> MatMul -> Relu -> MatMul -> y, wide enough for ONNX Runtime's 4-bit kernels."""
    tensors = [
        numpy_helper.from_array(random(width, width, seed=1), "w1"),
        numpy_helper.from_array(random(width, width, seed=2), "w2"),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h1"], name="first"),
        helper.make_node("Relu", ["h1"], ["a1"], name="relu"),
        helper.make_node("MatMul", ["a1", "w2"], ["y"], name="second"),
    ]
    return wrap(nodes, ("batch", width), tensors)


def wrap(
    nodes: list, shape: tuple, initial: list, opset: int = 21, kind: int = TensorProto.FLOAT
) -> ir.Model:
    """A checked model with input x of an element type and float output y, shapes inferred."""
    x = helper.make_tensor_value_info("x", kind, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "small", [x], [y], initial)
    imports = [helper.make_opsetid("", opset)]
    version = helper.find_min_ir_version_for(imports)
    model = helper.make_model(graph, opset_imports=imports, ir_version=version)
    inferred = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(inferred)
    return ir.from_proto(inferred)


@cache
def graph_of(kind: str, opset: int = 21) -> Graph:
    """Built once; a QuantizedGraph copies what it changes."""
    return build(one_layer(kind, opset=opset))


def inputs_of(graph: Graph, count: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Random inputs for `count` examples."""
    sizes = {"batch": count, "time": 3}
    shape = [sizes.get(str(size), size) for size in graph.inputs[0].shape]
    values = torch.from_numpy(random(*shape, seed=seed))
    if graph.inputs[0].dtype == torch.int64:
        values = (values * 100).long().abs() % 11
    return (values,)


def quantize(
    graph: Graph,
    bits: int = 8,
    activations: int | None = None,
    granularity: str = "channel",
    overrides: tuple[Override, ...] = (),
    **options: Any,
) -> QuantizedGraph:
    """All layers quantized, ranges from the extremes of weights and of random inputs."""
    chosen = target("weight-only" if activations is None else "ort-cpu-vnni")
    weights = WeightGrid(bits=bits, granularity=granularity, group_size=4, **options)
    active = None if activations is None else ActivationGrid(bits=activations)
    sites = chosen.sites(graph, weights, active, overrides, edges=None)
    model = QuantizedGraph(graph, sites)
    calibrate(model, inputs_of(graph, 8, seed=9))
    return model


def calibrate(model: QuantizedGraph, inputs: tuple[Tensor, ...]) -> None:
    """Min-max ranges."""
    active = [site.tensor for site in model.of_kind("activation")]
    values = capture(model.graph.module, inputs, active) if active else {}
    for site in [*model.of_kind("weight"), *model.of_kind("activation")]:
        x = values[site.tensor] if site.kind == "activation" else model.weight(site.name).detach()
        set_extremes(model, site, x)


def set_extremes(model: QuantizedGraph, site: Site, x: Tensor) -> None:
    rows = site.grid.granularity.rows(x)
    low, high = rows.min(dim=1).values, rows.max(dim=1).values
    unrows = site.grid.granularity.unrows
    model.quantizer(site.name).set_range(unrows(low, x.shape), unrows(high, x.shape))
