"""Outlets: inner values with gradients, from a network that shares everything with the first."""

from __future__ import annotations

import copy

import pytest
import torch

import workbench
from tests.methods.nets import examples, network, quantized, task
from workbench.foundation.errors import ModelError
from workbench.graph import capture
from workbench.graph.outlets import with_outlets
from workbench.methods.registry import make
from workbench.quantizers.lsq import LSQ

NAMES = ["sum", "x", "stem.relu"]


@pytest.fixture
def model():
    found = quantized(network(), bits=4)
    for _ in make("rtn").learn(found, task()):
        pass
    return found


@pytest.fixture(params=["float", "quantized"])
def module(request, model):
    return model.graph.module if request.param == "float" else model.module


def test_outputs_come_first_then_the_named_values(module) -> None:
    x = examples()
    with torch.no_grad():
        found = with_outlets(module, NAMES)(x)
        (logits,) = module(x)
    inner = capture(module, (x,), NAMES)
    assert torch.equal(found[0], logits)
    assert len(found) == 1 + len(NAMES)
    assert all(torch.equal(a, inner[n]) for a, n in zip(found[1:], NAMES, strict=True))


def test_the_first_network_is_left_alone(module) -> None:
    code = module.code
    with_outlets(module, NAMES)
    assert module.code == code
    assert len(module(examples())) == 1


def test_parameters_and_quantizers_are_the_same_objects(module) -> None:
    opened = with_outlets(module, ["sum"])
    assert dict(opened.named_parameters()).keys() == dict(module.named_parameters()).keys()
    pairs = zip(opened.parameters(), module.parameters(), strict=True)
    assert all(a is b for a, b in pairs)
    assert all(a is b for a, b in zip(opened.children(), module.children(), strict=True))
    assert opened.training is module.training


def test_later_changes_are_seen(model) -> None:
    opened, x = with_outlets(model.module, ["sum"]), examples()
    before = opened(x)[1].detach()
    with torch.no_grad():
        model.weight("stem.w").mul_(1.5)
    between = opened(x)[1].detach()
    assert not torch.equal(before, between)
    site = model.sites["point.w"]
    other = LSQ(site.grid, site.shape)
    other.set_range(-torch.ones(8), torch.ones(8))
    model.set_quantizer("point.w", other)
    assert not torch.equal(opened(x)[1], between)
    assert torch.equal(opened(x)[0], model(x)[0])


def test_gradients_flow_from_the_inner_values(model) -> None:
    point = model.sites["point.w"]
    learned = LSQ(point.grid, point.shape)
    learned.take(model.quantizer("point.w"))
    model.set_quantizer("point.w", learned)
    logits, inner = with_outlets(model.module, ["sum"])(examples())
    assert logits.requires_grad
    inner.square().mean().backward()
    for name in ("stem.w", "depth.w", "point.w"):
        gradient = model.weight(name).grad
        assert gradient is not None
        assert bool(gradient.abs().sum() > 0)
    assert learned.scale.grad is not None
    assert model.weight("head.w").grad is None


def test_the_residual_stream_of_a_transformer() -> None:
    graph = workbench.open("digits-vit").graph
    opened = with_outlets(graph.module, ["blocks.1.add_2"])
    logits, inner = opened(torch.randn(2, 1, 28, 28))
    assert (logits.shape, inner.shape) == ((2, 10), (2, 49, 64))
    inner.sum().backward()
    seen = [name for name, p in opened.named_parameters() if p.grad is not None]
    assert any("blocks_0" in name for name in seen)
    assert not any("blocks_2" in name for name in seen)
    graph.module.zero_grad()


def test_it_can_be_copied(module) -> None:
    x, opened = examples(), with_outlets(module, ["sum"])
    again = copy.deepcopy(opened)
    assert torch.equal(again(x)[1], opened(x)[1])
    assert not {*map(id, again.parameters())} & {*map(id, module.parameters())}


def test_an_unknown_name_is_answered_with_the_nearest(module) -> None:
    with pytest.raises(ModelError, match=r"no value 'summ'; the nearest name is 'sum'"):
        with_outlets(module, ["summ"])
