"""Norms that live while a network trains: folded without a trace, for every quantizer that can."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from tests.methods.nets import examples, network, quantized, task
from tests.methods.test_network_training import learn
from tests.methods.threads import together
from workbench.deploy.export import export
from workbench.deploy.verify import verify
from workbench.methods.network_plan import NetworkPlan, trains, use
from workbench.methods.norms import LiveNorm, Norms
from workbench.methods.together import Together
from workbench.methods.trainable import Trainable

CONVOLUTIONS = 3
#: quantizers with one scale for a tensor, or whose scale is not free
WITHOUT = {"tqt:power_of_two=true", "codes"}


@pytest.fixture(scope="module")
def graph():
    return network()


def plan(weights: str = "lsq", **fields) -> NetworkPlan:
    return NetworkPlan.parse({"weights": weights, "signals": (use("logits"),), **fields}, "test")


def test_a_norm_is_a_batch_norm_of_the_batch_and_then_of_what_was_seen():
    y = torch.randn(16, 3, 4, 4) * torch.tensor([1.0, 5.0, 0.1]).view(3, 1, 1) + 2
    norm = LiveNorm(torch.tensor([1.0, -1.0, 0.0]), torch.tensor([4.0, 1.0, 9.0]))
    norm.live = True
    z = norm(y)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.tensor([1.0, -1.0, 0.0]), atol=1e-4, rtol=0)
    deviation = z.std((0, 2, 3), unbiased=False)
    torch.testing.assert_close(deviation, torch.tensor([2.0, 1.0, 3.0]), atol=2e-2, rtol=0)
    norm.live = False
    still = norm(y)
    assert not torch.equal(still, z)
    expected = norm.factors().view(3, 1, 1) * (y - norm.mean.view(3, 1, 1))
    torch.testing.assert_close(still, expected + norm.middle.view(3, 1, 1))


def normalised(y: torch.Tensor, process: Together | None = None, *, counts: bool = True) -> tuple:
    """Outputs, running statistics, and gradients of inputs and parameters; a loss of its own."""
    norm = LiveNorm(torch.tensor([1.0, -1.0, 0.0]), torch.tensor([4.0, 1.0, 9.0]))
    norm.live, norm.together, norm.counts = True, process or Together(), counts
    held = y.clone().requires_grad_()
    z = norm(held)
    (z.pow(3).sum() * float(counts)).backward()
    own = [p.grad for p in norm.parameters()]
    return z.detach(), held.grad, norm.mean, norm.variance, own


@pytest.mark.parametrize("count", [2, 3])
def test_shares_of_a_batch_are_normalised_by_the_whole(count: int):
    y = torch.randn(7, 3, 4, 4, generator=torch.Generator().manual_seed(2)) * 3 + 1
    parts = [y[:3], y[3:], y[:1]][:count]  # the third one is there for company
    found = together(count, lambda p: normalised(parts[p.rank], p, counts=p.rank < 2))
    z, gradient, mean, variance, own = normalised(y)
    same = partial(torch.testing.assert_close, atol=1e-3, rtol=1e-4)
    same(torch.cat([found[0][0], found[1][0]]), z)
    same(torch.cat([found[0][1], found[1][1]]), gradient)
    for _, _, seen, spread, _ in found:
        same(seen, mean)
        same(spread, variance)
    for index, whole in enumerate(own):
        same(torch.stack([parts[4][index] for parts in found]).sum(0), whole)


def grow(norms: Norms) -> None:
    """Gains, middles and statistics that a course might have come to; one gain below zero."""
    generator = torch.Generator().manual_seed(3)
    for norm in norms._held.values():
        with torch.no_grad():
            norm.gain.mul_(torch.empty_like(norm.gain).uniform_(0.3, 2.0, generator=generator))
            norm.gain[0] *= -1
            norm.middle.add_(torch.randn(norm.middle.shape, generator=generator) * 0.1)
            norm.mean.mul_(1.2)


@pytest.mark.parametrize("bits", [2, 3])
@pytest.mark.parametrize("weights", trains("weights"))
def test_folding_changes_nothing_but_where_the_norm_is_kept(graph, weights: str, bits: int):
    """Without activations on grids: a changed range would meet other ties."""
    model, x = quantized(graph, bits, activations=None), examples(seed=5, count=32)
    asked = plan(weights)
    norms = Norms(model, asked, task())
    Trainable(model, asked)
    grow(norms)
    with torch.no_grad():
        before, count = model(x)[0], len(norms)
        norms.fold()
        after = model(x)[0]
    assert count in (0, CONVOLUTIONS)
    assert not [m for m in model.modules() if isinstance(m, LiveNorm)]
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_most_quantizers_can_be_folded_into(graph):
    found = {}
    for name in trains("weights"):
        norms = Norms(quantized(graph, 2), plan(name), task())
        found[name] = len(norms)
    without = {name for name, count in found.items() if not count}
    assert {"lsq", "seq", "binary", "absmean", "dorefa"}.isdisjoint(without)
    assert not len(Norms(quantized(graph, 2), plan("tqt:power_of_two=true"), task()))


@pytest.mark.parametrize(
    ("bits", "fields"), [(2, {"norms": False}), (2, {"moves": "scales"}), (4, {})]
)
def test_there_are_none_where_none_are_wanted(graph, bits: int, fields: dict):
    model = quantized(graph, bits)
    before = model.module.code
    assert not len(Norms(model, plan(**fields), task()))
    assert model.module.code == before


def test_training_ends_with_the_network_it_began_with_and_a_file_that_runs(graph, tmp_path):
    model = quantized(graph, 2, activations=4)
    keys, code = set(model.module.state_dict()), model.module.code
    events = learn(model, {"epochs": 2, "batch_size": 32})
    assert "3 convolutions are normalised for most of the steps" in [e.text for e in events]
    assert (set(model.module.state_dict()), model.module.code) == (keys, code)
    path = export(model, tmp_path / "m.onnx").path
    found = verify(path, model, [(examples(seed=9, count=8),)])
    assert found.modes[0].verdict == "equal", found.sentence()


def test_two_bits_lose_less_with_them(graph):
    loss = {}
    for norms in (False, True):
        options = {"epochs": 4, "batch_size": 32, "norms": norms, "held_out": 0.2}
        events = learn(quantized(graph, 2, activations=2), options)
        loss[norms] = [e.values["held_out"] for e in events if "held_out" in e.values][-1]
    assert loss[True] < 0.9 * loss[False]


def test_a_course_given_up_leaves_none_behind(graph):
    from workbench.methods.registry import make

    model, given = quantized(graph, 2), task()
    before = model.module.code
    course = make("lsq", {"epochs": 2, "batch_size": 16}).learn(model, given)
    while next(course).kind != "layer":
        pass
    course.close()
    assert model.module.code == before
