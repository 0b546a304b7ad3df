"""Batch-norm re-estimation: statistics come back, codes stay, the output is better for it."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import examples, network, quantized, task
from tests.methods.normed import normed
from tests.methods.test_bias_correction import learned, quality
from tests.methods.test_learning import Memory, StoppedError
from workbench.foundation.errors import DataError
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.taps import capture
from workbench.graph.targets import WeightGrid, target
from workbench.methods.registry import make
from workbench.quantizers.codes import Codes

NORMS = ("stem.norm", "depth.norm", "point.norm")


def statistics(module: torch.nn.Module, value: str) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        found = capture(module, (examples(),), {value})[value]
    return found.mean((0, 2, 3)), found.std((0, 2, 3), correction=0)


def apart(model: QuantizedGraph, value: str, wanted: tuple[torch.Tensor, torch.Tensor]) -> float:
    """How far mean and deviation are from the wanted ones, in wanted deviations."""
    mean, deviation = statistics(model.module, value)
    far = (mean - wanted[0]).abs() + (deviation - wanted[1]).abs()
    return float((far / wanted[1]).max())


@pytest.mark.parametrize("value", NORMS)
def test_mean_and_deviation_become_those_of_the_float_network(value: str) -> None:
    model = learned(quantized(normed(), 2, None), ("rtn", {}))
    wanted = statistics(model.graph.module, value)
    assert apart(model, value, wanted) > 0.05
    learned(model, ("bn_reestimation", {"limit": 16.0}))
    assert apart(model, value, wanted) < 1e-3


@pytest.mark.parametrize("value", NORMS)
def test_or_those_that_training_saw(value: str) -> None:
    model = learned(quantized(normed(), 2, None), ("rtn", {}))
    made = {v.name: v for node in model.graph.model.graph for v in node.outputs}
    wanted = made[value].meta["batch_norm"]
    learned(model, ("bn_reestimation", {"target": "batch_norm", "limit": 16.0}))
    assert apart(model, value, wanted) < 1e-3


@pytest.mark.parametrize("first", ["rtn", "gram"])
def test_codes_stay_and_scales_move(first: str) -> None:
    model = learned(quantized(normed(), 3, None), (first, {}))
    before = model.frozen()
    learned(model, ("bn_reestimation", {}))
    for name, frozen in model.frozen().items():
        assert torch.equal(frozen.codes, before[name].codes), name
        assert isinstance(model.quantizer(name), Codes)
        assert not torch.equal(frozen.scale, before[name].scale), name


def test_on_one_scale_per_tensor_only_means_come_back() -> None:
    graph = normed()
    sites = target("weight-only").sites(graph, WeightGrid(bits=4, granularity="tensor"), None)
    model = learned(QuantizedGraph(graph, sites), ("rtn", {}))
    before = model.frozen()
    learned(model, ("bn_reestimation", {}))
    assert all(torch.equal(f.scale, before[name].scale) for name, f in model.frozen().items())
    wanted = statistics(graph.module, "depth.norm")[0]
    assert torch.allclose(statistics(model.module, "depth.norm")[0], wanted, atol=1e-4)


def test_groups_of_a_channel_are_scaled_together() -> None:
    graph = network()
    request = WeightGrid(bits=3, granularity="group", group_size=4)
    sites = target("weight-only").sites(graph, request, None, edges=None)
    model = learned(QuantizedGraph(graph, sites), ("rtn", {}))
    before = model.frozen()
    learned(model, ("bn_reestimation", {}))
    ratio = model.frozen()["head.w"].scale / before["head.w"].scale  # (out, blocks)
    assert torch.allclose(ratio, ratio[:, :1].expand_as(ratio))
    assert float((ratio - 1).abs().max()) > 1e-3


def test_it_lifts_the_output_on_other_examples() -> None:
    nearest = learned(quantized(normed(), 2, None), ("rtn", {}))
    plain = quality(nearest)
    shifted = quality(learned(nearest, ("bias_correction", {})))
    mended = quality(learned(nearest, ("bn_reestimation", {})))
    assert mended > shifted + 0.5
    assert mended > plain + 3


def test_without_norms_the_float_network_has_to_be_asked() -> None:
    with pytest.raises(DataError, match="choose the target 'float'"):
        learned(quantized(network(), 3), ("bn_reestimation", {"target": "batch_norm"}))


@pytest.mark.parametrize("name", ["bn_reestimation", "bias_correction"])
def test_stopped_and_resumed_it_ends_where_an_unbroken_run_ends(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.methods.resume.SAVE_EVERY_SECONDS", 0.0)
    graph = normed()
    whole = learned(quantized(graph, 3, None), ("rtn", {}), (name, {}))
    broken, checkpoint = learned(quantized(graph, 3, None), ("rtn", {})), Memory(stop_after=2)
    with pytest.raises(StoppedError):
        list(make(name).learn(broken, task(checkpoint=checkpoint)))
    again = quantized(graph, 3, None)
    list(make(name).learn(again, task(checkpoint=checkpoint)))
    wanted, got = whole.state(), again.state()
    assert wanted.keys() == got.keys()
    assert all(torch.allclose(got[key].float(), wanted[key].float(), atol=1e-6) for key in wanted)
