"""Quantizers that are trained with a network: each exports, runs and is restored as simulated."""

from __future__ import annotations

import pytest
import torch

from tests.deploy.test_restore import assert_same_frozen
from tests.methods.nets import examples, network, quantized, task
from workbench.deploy.export import export
from workbench.deploy.restore import restore
from workbench.deploy.verify import verify
from workbench.foundation.errors import RecipeError
from workbench.graph.load import load
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import WeightGrid, target
from workbench.methods.calibrate import ensure_ranges
from workbench.methods.readings import of_model
from workbench.quantizers.base import Quantizer
from workbench.quantizers.codes import Codes
from workbench.quantizers.registry import QUANTIZERS

#: of weights, of activations
PAIRS = {
    "lsq_plus": ("lsq_plus", "lsq_plus"),
    "pact": ("dorefa", "pact"),
    "dorefa": ("dorefa", "lsq"),
    "qil": ("qil", "lsq_plus"),
    "tqt": ("tqt", "tqt"),
}


@pytest.fixture(scope="module")
def graph():
    return network()


def put(model: QuantizedGraph, weights: str, activations: str | None) -> None:
    """As training does: each starts from the quantizer that is there, and then moves a little."""
    generator = torch.Generator().manual_seed(0)
    for name, site in list(model.sites.items()):
        kind = {"weight": weights, "activation": activations}.get(site.kind)
        if kind is None or site.shares is not None:
            continue
        before = model.quantizer(name)
        learner: Quantizer = QUANTIZERS[kind].make(model.asked[name], site.shape)
        learner.take(before)
        if hasattr(learner, "start"):
            learner.start(model.weight(name).detach())
        with torch.no_grad():
            for parameter in learner.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(0.03 * noise * (1 + parameter.abs()))
        model.set_quantizer(name, learner)
        assert model.sites[name].grid == learner.grid


def ready(graph, name: str, bits: int) -> QuantizedGraph:
    model = quantized(graph, bits=bits)
    for _ in ensure_ranges(model, task()):
        pass
    put(model, *PAIRS[name])
    return model


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("name", PAIRS)
def test_the_file_runs_as_simulated(name: str, bits: int, graph, tmp_path) -> None:
    model = ready(graph, name, bits)
    path = export(model, tmp_path / "m.onnx").path
    found = verify(path, model, [(part,) for part in examples(1).split(24)])
    assert found.ok, found.sentence()
    assert found.modes[0].verdict == "equal"
    assert not found.differing_stored


@pytest.mark.parametrize("store", ["packed", "int8"])
@pytest.mark.parametrize("name", PAIRS)
def test_the_file_opens_again(name: str, store, graph, tmp_path) -> None:
    model = ready(graph, name, 3)
    path = export(model, tmp_path / "m.onnx", store=store).path
    again = restore(load(path)).quantized()
    with torch.no_grad():
        assert torch.equal(model(examples(2))[0], again(examples(2))[0])
    assert_same_frozen(model.frozen(), again.frozen())
    onto = restore(load(path)).fill(quantized(graph, bits=3))
    assert_same_frozen(model.frozen(), onto.frozen())
    stored = quantized(graph, bits=3)
    stored.load_state(onto.state())
    assert_same_frozen(model.frozen(), stored.frozen())
    for other in (again, onto, stored):
        second = export(other, tmp_path / "second.onnx", store=store).path
        assert second.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("granularity", ["tensor", "group"])
@pytest.mark.parametrize("weights", ["lsq_plus", "dorefa", "qil", "tqt"])
def test_weights_alone_in_groups_and_whole(weights: str, granularity, graph, tmp_path) -> None:
    size = {"group_size": 4} if granularity == "group" else {}
    request = WeightGrid(bits=2, granularity=granularity, **size)
    model = QuantizedGraph(graph, target("weight-only").sites(graph, request, None, edges=None))
    for site in model.of_kind("weight"):
        model.quantizer(site.name).fit(model.weight(site.name).detach(), "mse")
    put(model, weights, None)
    found = verify(export(model, tmp_path / "m.onnx").path, model, [(examples(1),)])
    assert found.modes[0].verdict == "equal", found.sentence()  # MatMulNBits rounds its input
    assert not found.differing_stored


@pytest.mark.parametrize("name", PAIRS)
def test_what_was_learned_is_stored_with_a_run(name: str, graph) -> None:
    model = ready(graph, name, 3)
    other = quantized(graph, bits=3)
    other.load_state(model.state())
    assert_same_frozen(model.frozen(), other.frozen())
    assert dict(other.sites) == dict(model.sites)


@pytest.mark.parametrize("weights", ["dorefa", "qil"])
def test_codes_have_not_flipped_before_a_weight_moves(weights: str, graph) -> None:
    """Also where a curve comes before the rounding."""
    model = quantized(graph, bits=2)
    for site in model.of_kind("weight"):
        model.quantizer(site.name).fit(model.weight(site.name).detach(), "mse")
    put(model, weights, None)
    assert of_model(model, ["point.w"])["point.w"].values["flips"] == 0


def test_rounding_does_not_follow_on_levels_that_training_brought(graph) -> None:
    model = ready(graph, "dorefa", 2)
    site = model.sites["point.w"]
    assert site.grid.label == "odd2"
    with pytest.raises(RecipeError, match="'odd2' levels, which rounding methods do not know"):
        model.set_quantizer("point.w", Codes(site.grid, site.shape))


def test_a_narrow_odd_grid_takes_a_container_that_holds_it(graph, tmp_path) -> None:
    """Two bits in codes of three, four bits in codes of five."""
    exported = export(ready(graph, "dorefa", 2), tmp_path / "two.onnx")
    assert "3-bit weights lie in 4-bit containers" in " ".join(exported.notes)
    exported = export(ready(graph, "dorefa", 4), tmp_path / "four.onnx")
    assert "5-bit weights lie in 8-bit containers" in " ".join(exported.notes)
