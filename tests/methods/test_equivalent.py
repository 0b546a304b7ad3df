"""Learned equivalent scaling: begins as SmoothQuant, never moves the float function, folds away."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from workbench.foundation.errors import RecipeError
from workbench.graph import Graph, build, capture, fold
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import ActivationGrid, WeightGrid, target
from workbench.maths.metrics import sqnr_db
from workbench.methods.base import Task
from workbench.methods.equivalent import Equivalent
from workbench.methods.plan import Learnable, Plan, SignalUse
from workbench.methods.registry import make
from workbench.methods.units import units
from workbench.methods.walk import UnitStop, Walk

C, HIDDEN, COUNT = 12, 20, 96


def perceptron() -> Graph:
    """A residual perceptron behind a normalization with one loud channel; input (N, 4, 12)."""
    node, rng = helper.make_node, np.random.default_rng(0)
    shapes = {"w0": (C, C), "g": (C,), "o": (C,), "w1": (C, HIDDEN), "b1": (HIDDEN,),
              "w2": (HIDDEN, C), "b2": (C,), "w3": (C, 5)}  # fmt: skip
    held = {n: rng.standard_normal(s).astype(np.float32) * 0.5 for n, s in shapes.items()}
    held["g"] = np.ones(C, np.float32)
    held["g"][[2, 7]] = 15.0, 6.0
    held["o"][5] = 9.0
    nodes = [
        node("MatMul", ["x", "w0"], ["stem"], "stem"),
        node("LayerNormalization", ["stem", "g", "o"], ["n"], "norm", axis=-1),
        node("MatMul", ["n", "w1"], ["up"], "up"),
        node("Add", ["up", "b1"], ["raised"], "up.add"),
        node("Relu", ["raised"], ["r"], "relu"),
        node("MatMul", ["r", "w2"], ["down"], "down"),
        node("Add", ["down", "b2"], ["lowered"], "down.add"),
        node("Add", ["stem", "lowered"], ["sum"], "sum"),
        node("MatMul", ["sum", "w3"], ["y"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, C])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4, 5])],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return build(fold(ir.from_proto(model))[0])


def examples(seed: int = 0) -> torch.Tensor:
    return torch.randn(COUNT, 4, C, generator=torch.Generator().manual_seed(seed))


def quantized(graph: Graph, bits: int = 4, activations: int | None = 4) -> QuantizedGraph:
    place = target("ort-cpu" if activations else "weight-only")
    active = ActivationGrid(bits=activations) if activations else None
    return QuantizedGraph(graph, place.sites(graph, WeightGrid(bits=bits), active, edges=None))


def task() -> Task:
    return Task(lambda: ((part,) for part in examples().split(16)), COUNT)


def block(model: QuantizedGraph) -> UnitStop:
    """The stop at the residual block."""
    parts = units(model, "block")
    walk = Walk(model, [(part,) for part in examples().split(16)], units=parts)
    return next(stop for stop in walk if isinstance(stop, UnitStop) and "up" in stop.unit.layers)


def disabled(model: QuantizedGraph) -> QuantizedGraph:
    model.enable(lambda _: False)
    return model


@torch.no_grad()
def test_it_begins_with_the_scales_of_smoothquant() -> None:
    graph = perceptron()
    model = quantized(graph)
    equivalent = Equivalent(model, block(model), alpha=0.5)
    assert set(equivalent.parameters) == {"n", "r"}
    inside = capture(graph.module, (examples(),), {"n", "r"})
    for name, weight in (("n", "w1"), ("r", "w2")):
        peaks = inside[name].flatten(0, -2).abs().amax(0)
        before = graph.module.get_parameter(graph.attribute_of[weight])
        s = (peaks / before.abs().amax(1)).sqrt()
        s = torch.where(peaks > 0, s, 1.0)  # what is never active is left alone
        after = model.parameter(weight)
        ratio = after.abs().amax(1) / before.abs().amax(1)
        if name == "r":
            assert torch.allclose(ratio, s, rtol=1e-5)
        else:
            gain = graph.module.get_parameter(graph.attribute_of["g"])
            assert torch.allclose(gain / model.parameter("g"), s, rtol=1e-5)
    for path in equivalent.paths:  # and the learned part begins as the identity
        held = model.module.get_parameter(path).clone()
        assert torch.equal(equivalent.value(path), held)


@torch.no_grad()
def test_where_activations_stay_float_it_begins_with_one() -> None:
    graph = perceptron()
    model = quantized(graph, activations=None)
    equivalent = Equivalent(model, block(model))
    equivalent.settle()
    for name in ("g", "o", "w1", "b1", "w2"):
        original = graph.module.get_parameter(graph.attribute_of[name])
        assert torch.equal(model.parameter(name), original), name


@torch.no_grad()
def test_no_factor_and_no_shift_moves_the_float_function() -> None:
    graph = perceptron()
    model = disabled(quantized(graph))
    equivalent = Equivalent(model, block(model))
    x = examples(seed=3)
    wanted = graph.module(x)[0]
    assert sqnr_db(wanted, model(x)[0]) > 110
    for parameters in equivalent.parameters.values():
        for parameter in parameters:
            parameter.add_(torch.randn_like(parameter))
    equivalent.settle()
    assert [len(parameters) for parameters in equivalent.parameters.values()] == [2, 1]
    assert not torch.equal(model.parameter("b1"), graph.module.get_parameter("b1"))
    assert sqnr_db(wanted, model(x)[0]) > 100


def test_gradients_reach_factors_and_shifts() -> None:
    graph = perceptron()
    model = quantized(graph)
    equivalent = Equivalent(model, block(model))
    total = sum(equivalent.value(path).square().sum() for path in equivalent.paths)
    assert isinstance(total, torch.Tensor)
    total.backward()
    for parameters in equivalent.parameters.values():
        assert all(bool(p.grad is not None and p.grad.abs().sum() > 0) for p in parameters)


@pytest.fixture(scope="module")
def learned() -> dict[bool, QuantizedGraph]:
    """The network after OmniQuant, without and with equivalent scaling."""
    graph, found = perceptron(), {}
    for equivalent in (False, True):
        found[equivalent] = quantized(graph)
        options = {"iterations": 100, "batch_size": 32, "equivalent": equivalent}
        list(make("omniquant", options).learn(found[equivalent], task()))
    return found


@torch.no_grad()
def test_learning_it_is_better_than_clipping_alone(learned: dict[bool, QuantizedGraph]) -> None:
    x = examples(seed=3)
    wanted = learned[True].graph.module(x)[0]
    alone, both = (sqnr_db(wanted, learned[key](x)[0]) for key in (False, True))
    assert both > alone + 1.0


@torch.no_grad()
def test_what_was_learned_lies_in_parameters_that_files_hold(
    learned: dict[bool, QuantizedGraph],
) -> None:
    model, x = learned[True], examples(seed=3)
    graph = model.graph
    again = quantized(graph)
    again.load_state(model.state())
    assert torch.equal(again(x)[0], model(x)[0])
    assert not torch.equal(model.parameter("g"), graph.module.get_parameter("g"))
    assert sqnr_db(graph.module(x)[0], disabled(again)(x)[0]) > 90


def test_a_quantizer_that_cannot_follow_is_refused() -> None:
    learnables = (
        Learnable(name="rounding", learning_rate=0.01),
        Learnable(name="equivalent", learning_rate=0.01),
    )
    signals = (SignalUse(name="output_error"),)
    with pytest.raises(RecipeError, match=r"'rounding' cannot follow .* choose among: clipping"):
        Plan.parse({"learnables": learnables, "signals": signals}, "plan")
