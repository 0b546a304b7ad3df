"""The quantized graph: rewiring, switching, state, and integer biases."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.graph import mixed
from tests.methods.nets import examples, network, quantized, task
from workbench.foundation.errors import RunError
from workbench.graph import capture
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import ActivationGrid, WeightGrid, target
from workbench.methods.base import Task
from workbench.methods.registry import make
from workbench.quantizers.shared import Shared


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


@pytest.fixture(scope="module")
def branches():
    return mixed.mixed()


@pytest.fixture
def shared(branches):
    """Both sides of a Concat and what is read behind it have one scale; the right side is wider."""
    place = target("npu-int")
    return QuantizedGraph(branches, place.sites(branches, WeightGrid(bits=8), ActivationGrid()))


@pytest.mark.parametrize("method", ["rtn", "gram"])
def test_a_shared_range_covers_all_before_the_first_is_used(branches, shared, method) -> None:
    options = {"calibrator": "minmax"}
    batches = [(part,) for part in mixed.inputs().split(4)]
    for _ in make(method, options).learn(shared, Task(lambda: iter(batches), 8)):
        pass
    with torch.no_grad():
        floats = capture(branches.module, (mixed.inputs(),), ["left", "right"])
    both = torch.cat([floats["left"].flatten(), floats["right"].flatten()])
    covered = float(both.max().clamp(min=0) - both.min().clamp(max=0)) / 255
    assert float(floats["left"].max()) < 0.5 * float(both.max())
    for name in ("left", "right", "cat"):
        assert float(shared.quantizer(name).affine()[0]) == pytest.approx(covered, rel=1e-5)


def test_pools_need_no_look_ahead(branches, shared) -> None:
    assert set(shared.joined()) == {"left"}
    assert set(shared.joined()["left"]) >= {"left", "right", "cat"}
    place = target("ort-cpu")
    sites = place.sites(branches, WeightGrid(bits=8), ActivationGrid())
    assert QuantizedGraph(branches, sites).joined() == {}


def test_a_new_leader_is_followed(shared) -> None:
    other = copy.deepcopy(shared.quantizer("left"))
    other.set_affine(torch.tensor(0.25), torch.tensor(3.0))
    shared.set_quantizer("cat", other)
    assert shared.quantizer("left") is other
    assert isinstance(shared.quantizer("right"), Shared)
    for name in ("right", "cat"):
        assert [float(v) for v in shared.quantizer(name).affine()] == [0.25, 3.0]
        assert float(shared.frozen()[name].scale) == 0.25


def test_a_copy_follows_its_own_leader(shared) -> None:
    twin = copy.deepcopy(shared)
    twin.quantizer("left").set_affine(torch.tensor(0.5), torch.tensor(0.0))
    assert float(twin.quantizer("cat").affine()[0]) == 0.5
    assert float(shared.quantizer("cat").affine()[0]) != 0.5


def test_state_holds_what_is_shared_once(branches, shared) -> None:
    mixed.calibrated(shared)
    stored = shared.state()
    assert not [key for key in stored if "/cat/" in key]
    fresh = QuantizedGraph(branches, list(shared.sites.values()))
    fresh.load_state(stored)
    x = mixed.inputs(seed=5)
    assert torch.equal(run(fresh, x), run(shared, x))


def test_training_moves_one_scale_for_the_group(branches, shared) -> None:
    batches = [(part,) for part in mixed.inputs().split(4)]
    options = {"epochs": 1, "batch_size": 4}
    for _ in make("lsq", options).learn(shared, Task(lambda: iter(batches), 8)):
        pass
    scales = {float(shared.quantizer(name).affine()[0]) for name in ("left", "right", "cat")}
    assert len(scales) == 1
