"""Layer errors against running the network with switches by hand."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import examples, network, quantized, task
from workbench.analysis.layer_errors import LayerErrors, layer_errors
from workbench.graph import capture
from workbench.maths.metrics import kl_divergence, sqnr_db
from workbench.methods.registry import make


@pytest.fixture(scope="module")
def model():
    found = quantized(network(), bits=3)
    for _ in make("rtn").learn(found, task()):
        pass
    return found


@pytest.fixture(scope="module")
def errors(model):
    x = examples(seed=3, count=64)
    return {e.layer: e for e in layer_errors(model, [(x[:32],), (x[32:],)])}


def simulate(model, wanted, name):
    x = examples(seed=3, count=64)
    model.enable(wanted)
    with torch.no_grad():
        found = capture(model.module, (x,), [name, "logits"])
        exact = capture(model.graph.module, (x,), [name, "logits"])
    model.enable(lambda _: True)
    return exact, found


@pytest.mark.parametrize("layer", ["stem", "depth", "point", "mix", "head"])
def test_weights_alone(model, errors, layer: str) -> None:
    output = {"head": "logits"}.get(layer, layer)
    exact, found = simulate(model, lambda s: s.name == f"{layer}.w", output)
    assert errors[layer].alone_weights_db == pytest.approx(
        sqnr_db(exact[output], found[output]), abs=0.01
    )
    expected = kl_divergence(exact["logits"], found["logits"])
    assert errors[layer].damage_weights_kl == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_accumulated(model, errors) -> None:
    exact, found = simulate(model, lambda _: True, "point")
    expected = sqnr_db(exact["point"], found["point"])
    assert errors["point"].accumulated_db == pytest.approx(expected, abs=0.01)
    exact, found = simulate(model, lambda s: s.kind == "activation", "point")
    expected = sqnr_db(exact["point"], found["point"])
    assert errors["point"].accumulated_activations_db == pytest.approx(expected, abs=0.01)


def test_the_layer_with_a_large_channel_is_not_spared(model, errors) -> None:
    assert errors["depth"].bits_weights == 3
    assert errors["depth"].theory_db == pytest.approx(16.90, abs=0.01)
    assert errors["depth"].damage_kl > 0


def test_float_parts_have_no_error() -> None:
    found = quantized(network(), bits=3, activations=None)
    for _ in make("rtn").learn(found, task()):
        pass
    for error in layer_errors(found, [(examples(),)]):
        assert error.alone_activations_db is None
        assert error.bits_activations == 0
        assert error.damage_activations_kl == 0


def test_progress_reaches_its_total(model) -> None:
    steps = list(LayerErrors(model, [(examples(count=4),)]))
    assert steps[-1].step == steps[-1].total == 5


def test_switches_are_left_as_they_were(model, errors) -> None:
    assert errors
    assert all(model.quantizer(name).enabled for name in model.sites)
