"""The quantized graph: rewiring, switching, state, and integer biases."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.methods.nets import examples, network, quantized, task
from workbench.foundation.errors import RunError
from workbench.graph import capture
from workbench.methods.registry import make


@pytest.fixture(scope="module")
def graph():
    return network()


@pytest.fixture
def model(graph):
    found = quantized(graph, bits=4)
    for _ in make("rtn").learn(found, task()):
        pass
    return found


def run(module, x):
    with torch.no_grad():
        return module(x)[0]


def test_switched_off_it_is_the_float_network(graph, model) -> None:
    model.enable(lambda _: False)
    x = examples()
    assert torch.equal(run(model, x), run(graph.module, x))


def test_the_float_graph_is_left_alone(graph, model) -> None:
    with torch.no_grad():
        model.weight("stem.w").add_(1)
    assert not torch.equal(model.weight("stem.w"), graph.module.get_parameter("stem_w"))


def test_every_reader_sees_the_quantized_tensor(model) -> None:
    x = examples()
    with torch.no_grad():
        values = capture(model.module, (x,), ["stem.relu", "point", "sum"])
        snapped = [model.quantizer(n)(values[n]) for n in ("point", "stem.relu")]
    assert torch.allclose(values["sum"], snapped[0] + snapped[1], atol=1e-6)


def test_bias_scale_is_the_product(model) -> None:
    frozen = model.frozen()
    product = frozen["x"].scale * frozen["stem.w"].scale
    assert torch.allclose(frozen["stem.b"].scale, product)
    assert frozen["stem.b"].codes is not None
    rebuilt = frozen["stem.b"].values()
    assert torch.allclose(rebuilt, model.weight("stem.b").detach(), atol=float(product.max()))


def test_biases_follow_a_new_quantizer(model) -> None:
    other = copy.deepcopy(model.quantizer("stem.w"))
    other.set_affine(other.scale * 2, other.zero_point)
    before = model.frozen()["stem.b"].scale
    model.set_quantizer("stem.w", other)
    assert torch.allclose(model.frozen()["stem.b"].scale, before * 2)


def test_a_copy_has_its_own_biases(model) -> None:
    twin = copy.deepcopy(model)
    twin.quantizer("x").set_affine(torch.tensor(0.5), torch.tensor(0.0))
    assert not torch.allclose(twin.frozen()["stem.b"].scale, model.frozen()["stem.b"].scale)


def test_state_of_another_network_is_refused(model) -> None:
    with pytest.raises(RunError, match="'nowhere' is not in this graph"):
        model.load_state({"quantizer/uniform/nowhere/scale": torch.ones(())})


def test_gradients_reach_weights_and_inputs(model) -> None:
    x = examples().requires_grad_()
    model(x)[0].square().sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0
    assert all(float(model.weight(s.name).grad.abs().sum()) > 0 for s in model.of_kind("weight"))
