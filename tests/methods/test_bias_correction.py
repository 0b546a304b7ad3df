"""Bias correction: what it promises of each channel, with and without data."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import examples, network, quantized, task
from tests.methods.normed import normed
from workbench.foundation.errors import DataError
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.taps import capture
from workbench.maths.metrics import sqnr_db
from workbench.methods.bias_correction import expected_shift
from workbench.methods.registry import make


def learned(model: QuantizedGraph, *stages: tuple[str, dict]) -> QuantizedGraph:
    for name, options in stages:
        for _ in make(name, options).learn(model, task()):
            pass
    return model


def mean_error(model: QuantizedGraph, value: str) -> torch.Tensor:
    """Of each channel of a value, on the calibration examples, in deviations."""
    inputs = (examples(),)
    with torch.no_grad():
        float_value = capture(model.graph.module, inputs, {value})[value]
        found = capture(model.module, inputs, {value})[value]
    axes = [axis for axis in range(found.ndim) if axis != 1]
    return (found - float_value).mean(axes) / float_value.std(axes)


def quality(model: QuantizedGraph) -> float:
    x = examples(seed=9, count=200)
    with torch.no_grad():
        return sqnr_db(model.graph.module(x)[0], model(x)[0])


def test_the_known_shift() -> None:
    weight, rounded = torch.tensor([[0.34, -0.62, 0.18]]), torch.tensor([[0.25, -0.5, 0.25]])
    mean = torch.tensor([[1.0], [2.0], [0.5]])
    assert float(-expected_shift(rounded - weight, mean)) == pytest.approx(-0.185, abs=1e-6)


@pytest.mark.parametrize("value", ["stem", "depth", "point", "mixed", "logits"])
def test_no_channel_is_off_on_average_afterwards(value: str) -> None:
    model = learned(quantized(network(), 3, None), ("rtn", {}))
    before = mean_error(model, value).abs().max()
    learned(model, ("bias_correction", {}))
    assert float(mean_error(model, value).abs().max()) < 1e-4
    assert float(before) > 1e-3


@pytest.mark.parametrize("first", ["rtn", "gram"])
@pytest.mark.parametrize("source", ["data", "batch_norm"])
def test_twice_is_once(first: str, source: str) -> None:
    model = learned(quantized(normed(), 3, None), (first, {}))
    stage = ("bias_correction", {"source": source})
    once = {k: v.clone() for k, v in learned(model, stage).state().items()}
    twice = learned(model, stage).state()
    assert once.keys() == twice.keys()
    assert all(torch.allclose(once[key], twice[key], atol=1e-5) for key in once)


def test_both_sources_help() -> None:
    def after(*stages: tuple[str, dict]) -> tuple[float, float]:
        model = learned(quantized(normed(), 3, None), ("rtn", {}), *stages)
        return quality(model), float(mean_error(model, "depth.norm").abs().mean())

    plain, shifted = after()
    assert after(("bias_correction", {"source": "batch_norm"}))[0] > plain + 1
    assert after(("bias_correction", {"source": "data"}))[0] > plain + 1
    assert after(("bias_correction", {"source": "batch_norm"}))[1] < 0.5 * shifted


def test_only_biases_move_and_codes_stay() -> None:
    model = learned(quantized(network(), 3), ("gram", {}))
    before = model.frozen()
    learned(model, ("bias_correction", {}))
    for name, frozen in model.frozen().items():
        if model.sites[name].kind != "bias":
            assert torch.equal(frozen.scale, before[name].scale), name
        if model.sites[name].kind == "weight":
            assert torch.equal(frozen.codes, before[name].codes), name


def test_without_norms_there_is_nothing_to_correct_from() -> None:
    with pytest.raises(DataError, match="keeps no batch-norm statistics"):
        learned(quantized(network(), 3), ("bias_correction", {"source": "batch_norm"}))


def test_layers_without_a_bias_are_named() -> None:
    from tests.methods.nets import recurrent

    model = quantized(recurrent(), 4, None)
    events = list(make("bias_correction").learn(model, task()))
    notes = [event.text for event in events if event.kind == "note"]
    assert notes == ["2 layers without a bias are left as they are: gru, head"]
