"""PD-Quant's distribution correction: inputs move a little, towards what batch norms remember."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.synthesis.nets import convolutional, graph, pictures
from workbench.graph import Graph
from workbench.graph.norms import norms
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import ActivationGrid, WeightGrid, target
from workbench.methods.base import Task
from workbench.methods.correction import corrected
from workbench.methods.registry import make
from workbench.methods.units import units
from workbench.methods.walk import UnitStop, Walk
from workbench.signals.batch_norm import mismatch


@pytest.fixture(scope="module")
def built() -> Graph:
    return graph(convolutional())


def quantized(built: Graph) -> QuantizedGraph:
    plan = target("ort-cpu").plan(built, WeightGrid(bits=4), ActivationGrid(bits=8), (), None)
    return QuantizedGraph(built, plan.sites).eval()


def stops(model: QuantizedGraph) -> Iterator[UnitStop]:
    few = [(pictures(6, seed=5),), (pictures(6, seed=6),)]
    walk = Walk(model, few, units=units(model, "layer"))
    for stop in walk:
        if isinstance(stop, UnitStop):
            yield stop


def apart(model: QuantizedGraph, stop: UnitStop) -> float:
    found = norms(model.graph.model, stop.unit.nodes)
    values = stop.inner(stop.inputs(0)[0], [norm.value for norm in found])
    return sum(
        float(mismatch(v, n.axis, (n.mean, n.deviation), each=True).detach())
        for n, v in zip(found, values, strict=True)
    )


def test_inputs_move_towards_the_statistics_and_back(built):
    model = quantized(built)
    done = []
    for stop in stops(model):
        before, reference = stop.inputs(0)[0], stop.reference(0)[0]
        known = bool(norms(model.graph.model, stop.unit.nodes))
        first = apart(model, stop)
        with corrected(model, stop, 60) as did:
            done.append((stop.unit.name, did))
            if did:
                after = stop.inputs(0)[0]
                moved = max(float((after[n] - x).abs().max()) for n, x in before.items())
                assert 1e-3 < moved < 0.1  # 60 steps of at most 1e-3
                assert apart(model, stop) < 0.99 * first
                assert not torch.equal(stop.reference(0)[0], reference)
                quantized_inputs = stop.inputs(0)[1]
                assert all(torch.equal(quantized_inputs[n], x) for n, x in _pairs(stop).items())
        assert did == known
        assert all(torch.equal(stop.inputs(0)[0][n], x) for n, x in before.items())
        assert torch.equal(stop.reference(0)[0], reference)
    assert done == [("first", True), ("second", True), ("head", False)]


def _pairs(stop: UnitStop) -> dict:
    moved, stop.moved = stop.moved, None
    plain = stop.inputs(0)[1]
    stop.moved = moved
    return plain


def test_it_is_an_option_of_pd_quant(built):
    plain, fitted = ({"iterations": 6}, {"iterations": 6, "correct_distribution": True})
    assert make("pd_quant", plain).plan().correction == 0
    assert make("pd_quant", fitted).plan().correction == 500
    states, x = [], pictures(12, seed=5)
    for options in (plain, {**fitted, "correction_steps": 3}):
        model = quantized(built)
        for _ in make("pd_quant", options).learn(model, Task(lambda: iter([(x,)]), 12)):
            pass
        states.append(model.state())
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])
