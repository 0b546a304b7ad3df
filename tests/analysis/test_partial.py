"""Running what a setting changes, against running everything."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import examples, network, quantized, task
from workbench.analysis.partial import FLOAT, PartialNetwork, Setting, everything
from workbench.analysis.units import by_layer, units
from workbench.methods.registry import make


@pytest.fixture(scope="module")
def model():
    found = quantized(network(), bits=3)
    for _ in make("gram").learn(found, task()):
        pass
    return found


@torch.no_grad()
def test_everything_is_the_simulation_and_back_again(model) -> None:
    x = examples(seed=3)
    whole = PartialNetwork(model, (x,), everything(model))
    assert torch.equal(whole.output({}), model(x)[0])
    float_output = model.graph.module(x)[0]
    assert torch.equal(whole.output(whole.run(FLOAT)), float_output)
    bare = PartialNetwork(model, (x,))
    assert torch.equal(bare.output(bare.run(everything(model))), model(x)[0])


@torch.no_grad()
def test_all_but_one_activation(model) -> None:
    x, name = examples(seed=3), "depth.relu"
    whole = PartialNetwork(model, (x,), everything(model))
    changed = whole.run(everything(model) - Setting(frozenset({name})))
    model.enable(lambda site: site.name != name)
    expected = model(x)[0]
    model.enable(lambda _: True)
    assert torch.equal(whole.output(changed), expected)
    assert len(changed) < len(whole.values) / 2


def test_the_slope_passes_quantizers(model) -> None:
    x = examples(seed=3, count=4)
    whole = PartialNetwork(model, (x,), everything(model))
    first = next(
        n
        for n in model.module.graph.nodes
        if n.op == "call_module" and not n.meta.get("onnx_value")
    )
    output, (held,) = whole.differentiable([first])
    assert torch.allclose(output, model(x)[0], atol=1e-5)
    (slope,) = torch.autograd.grad(output.sum(), held)
    assert slope.shape == held.shape
    assert slope.abs().sum() > 0


def test_units_are_weights_with_their_biases_and_activations(model) -> None:
    found = {unit.name: unit for unit in units(model)}
    assert set(found) == {s.name for s in model.sites.values() if s.kind != "bias"}
    assert found["stem.w"].setting.sites == {"stem.w", "stem.b"}
    assert "stem.b" in found["stem.w"].setting.parameters
    assert found["depth.relu"].setting == Setting(frozenset({"depth.relu"}))
    layers = by_layer(list(found.values()))
    assert [unit.name for unit in layers["point"]] == ["depth.relu", "point.w"]
