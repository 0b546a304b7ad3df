"""Bits that are searched: the budget holds, runs resume, and the mixed file runs as simulated."""

from __future__ import annotations

import pytest
import torch

import workbench
from tests.methods.nets import examples, network, quantized, task
from workbench.deploy.export import export
from workbench.deploy.restore import restore
from workbench.deploy.verify import verify
from workbench.foundation.errors import RecipeError
from workbench.graph.costs import costs
from workbench.graph.load import load
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import ActivationGrid, WeightGrid, target
from workbench.maths.metrics import kl_divergence
from workbench.methods.base import Task
from workbench.methods.bit_search import BitSearch
from workbench.methods.network_plan import Search
from workbench.methods.registry import make
from workbench.quantizers.frac_bits import FracBits
from workbench.session.execute import build

QUICK = {"epochs": 6, "batch_size": 8}
METHODS = ["fracbits", "edmips"]
#: values of each weight of the network
SIZES = {"stem.w": 72, "depth.w": 72, "point.w": 64, "mix.w": 96, "head.w": 60}


@pytest.fixture(scope="module")
def graph():
    return network()


def learn(model: QuantizedGraph, name: str, options: dict | None = None, **fields) -> list:
    return list(make(name, {**QUICK, **(options or {})}).learn(model, task(**fields)))


def bits(model: QuantizedGraph) -> dict[str, int]:
    return {site.name: model.asked[site.name].bits for site in model.of_kind("weight")}


def average(model: QuantizedGraph) -> float:
    found = bits(model)
    return sum(SIZES[name] * width for name, width in found.items()) / sum(SIZES.values())


def searching(model: QuantizedGraph, expected: dict[str, float], **options) -> BitSearch:
    """A search that has come to these fractional bits."""
    search = BitSearch(model, Search(quantizer="frac_bits", **options))
    for name in search.open:
        model.set_quantizer(name, FracBits(model.asked[name], model.sites[name].shape))
        model.quantizer(name).begin(expected[name])
    return search


# --- the budget -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("options", [{}, {"average_bits": 2.6}, {"average_bits": 4.5, "most": 5}])
def test_the_budget_holds_exactly(graph, name: str, options: dict) -> None:
    model = quantized(graph, 3)
    events = learn(model, name, options)
    assert average(model) <= options.get("average_bits", 3.0)
    assert set(bits(model).values()) <= set(range(2, options.get("most", 8) + 1))
    for site, width in bits(model).items():
        assert model.sites[site].grid.bits == width == model.frozen()[site].grid.bits
    notes = [event.text for event in events if event.kind == "note"]
    assert notes[-1].startswith("bits chosen: ")
    assert f"on average {average(model):.2f} bits" in notes[-1]
    seen = [event.sites for event in events if event.kind == "layer" and event.sites]
    assert all("bits" in sites[site].values for sites in seen[-4:] for site in SIZES)
    assert {s: seen[-1][s].values["bits"] for s in SIZES} == bits(model)


def test_bit_operations_are_a_budget_too(graph) -> None:
    model = quantized(graph, 3)
    held = costs(graph, model.sites.values())
    limit = 2.7 * sum(cost.products for cost in held.values()) / 1e6
    learn(model, "fracbits", {"bops": limit})
    found = sum(held[name].products * width for name, width in bits(model).items()) / 1e6
    assert found <= limit


def test_costs_by_hand(graph) -> None:
    found = costs(graph, quantized(graph, 3).sites.values())
    assert {name: cost.values for name, cost in found.items()} == SIZES
    assert found["stem.w"].products == 72 * 25 * 8
    assert found["head.w"].products == 60 * 8
    apart = costs(graph, quantized(graph, 3, None).sites.values())
    assert apart["stem.w"].products == 72 * 25 * 32  # float data


def test_rounding_is_mended_greedily(graph) -> None:
    model = quantized(graph, 3)
    wanted = {"stem.w": 3.62, "depth.w": 3.55, "point.w": 2.4, "mix.w": 2.6, "head.w": 3.0}
    search = searching(model, wanted)
    search.settle()  # to 4, 4, 2, 3, 3, which is 80 bits too many
    # depth was rounded up most, then mix; then there is room for depth again, and no more
    assert bits(model) == {"stem.w": 4, "depth.w": 4, "point.w": 2, "mix.w": 2, "head.w": 3}


def test_room_that_rounding_leaves_is_used(graph) -> None:
    model = quantized(graph, 3)
    wanted = {"stem.w": 3.4, "depth.w": 3.2, "point.w": 3.0, "mix.w": 2.3, "head.w": 3.45}
    searching(model, wanted).settle()  # 3, 3, 3, 2, 3 leaves 96 bits: one more for the head
    assert bits(model) == {"stem.w": 3, "depth.w": 3, "point.w": 3, "mix.w": 2, "head.w": 4}


def test_weights_that_were_asked_for_apart_keep_their_bits(graph) -> None:
    sites = target("ort-cpu").sites(graph, WeightGrid(bits=3), ActivationGrid(bits=8), edges=7)
    model = QuantizedGraph(graph, sites)
    events = learn(model, "fracbits")
    found = bits(model)
    assert found["stem.w"] == found["head.w"] == 7
    inner = {name: SIZES[name] for name in ("depth.w", "point.w", "mix.w")}
    assert sum(inner[name] * found[name] for name in inner) <= 3 * sum(inner.values())
    assert "with the 2 that kept theirs" in events[-1].text


def test_only_widths_that_the_target_runs(graph) -> None:
    place = target("ort-cpu").sites(graph, WeightGrid(bits=3), ActivationGrid(bits=8), edges=None)
    widths = {site.name: site.widths for site in place if site.kind == "weight"}
    assert widths["stem.w"] == tuple(range(1, 8))  # more would saturate
    assert widths["depth.w"] == tuple(range(1, 9))
    coarse = target("npu-int").sites(graph, WeightGrid(bits=8), ActivationGrid(bits=8), edges=None)
    model = QuantizedGraph(graph, coarse)
    learn(model, "fracbits", {"average_bits": 6})
    assert set(bits(model).values()) <= {4, 8}
    assert average(model) <= 6
    fixed = target("tensorrt").sites(graph, WeightGrid(bits=8), ActivationGrid(bits=8), edges=None)
    with pytest.raises(RecipeError, match="no weight has a choice between '2' and '8' bits"):
        learn(QuantizedGraph(graph, fixed), "fracbits")


def test_impossible_budgets_are_refused(graph) -> None:
    with pytest.raises(RecipeError, match=r"was '1\.5', and the fewest bits come to 2"):
        learn(quantized(graph, 3), "fracbits", {"average_bits": 1.5})
    with pytest.raises(RecipeError, match=r"bops was '0\.001', and the fewest bits come to 0"):
        learn(quantized(graph, 3), "edmips", {"bops": 0.001})
    with pytest.raises(RecipeError, match="least was '4'; give less than most, '4'"):
        make("fracbits", {"least": 4, "most": 4})
    with pytest.raises(RecipeError, match="exclude each other"):
        make("fracbits", {"bits": "8,4"})
    with pytest.raises(RecipeError, match="unknown quantizer of weights 'frac_bits'"):
        make("train", {"weights": "frac_bits"})


# --- keeping it -----------------------------------------------------------------------------------


class StoppedError(Exception):
    """The run was ended here."""


class Memory:
    """A checkpoint in memory that ends the run after some saves."""

    def __init__(self, stop_after: int) -> None:
        self.stored, self.left = None, stop_after

    def save(self, tensors, step: int) -> None:
        self.stored = ({k: v.clone() for k, v in tensors.items()}, step)
        self.left -= 1
        if self.left == 0:
            raise StoppedError

    def load(self):
        return self.stored


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("epochs", [1, 3, 4])
def test_a_stopped_search_goes_on_as_an_unbroken_one(graph, name: str, epochs: int) -> None:
    whole, broken, again = (quantized(graph, 3) for _ in range(3))
    learn(whole, name)
    checkpoint = Memory(stop_after=epochs)
    with pytest.raises(StoppedError):
        learn(broken, name, checkpoint=checkpoint)
    learn(again, name, checkpoint=checkpoint)
    assert bits(again) == bits(whole)
    ours, theirs = whole.state(), again.state()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_one_epoch_searches_and_settles(graph) -> None:
    model = quantized(graph, 3)
    learn(model, "fracbits", {"epochs": 1})
    assert average(model) <= 3
    assert not any(isinstance(m, FracBits) for m in model.module.modules())


def test_another_stage_goes_on_at_the_chosen_bits(graph) -> None:
    model = quantized(graph, 3)
    learn(model, "fracbits")
    chosen = bits(model)
    list(make("lsq", {"epochs": 2}).learn(model, task()))
    list(make("gram").learn(model, task()))
    assert bits(model) == chosen
    assert {s.name: s.grid.bits for s in model.of_kind("weight")} == chosen


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("activations", [8, None])
def test_it_is_exported_verified_and_read_back(graph, name, activations, tmp_path) -> None:
    model = quantized(graph, 3, activations)
    learn(model, name)
    if len(set(bits(model).values())) == 1:
        model.regrid("mix.w", 2)
    model.eval()
    x = examples(seed=9, count=32)
    path = export(model, tmp_path / "m.onnx").path
    assert verify(path, model, [(x,)]).modes[0].verdict == "equal"
    again = restore(load(path)).quantized()
    beside = restore(load(path)).fill(quantized(graph, 3, activations))
    fresh = quantized(graph, 3, activations).eval()
    fresh.load_state(model.state())
    assert bits(fresh) == bits(again) == bits(model)
    with torch.no_grad():
        expected = model(x)[0]
        assert all(torch.equal(other(x)[0], expected) for other in (again, beside, fresh))
    second = export(fresh, tmp_path / "again.onnx").path
    assert second.read_bytes() == path.read_bytes()


# --- other bits on a site -------------------------------------------------------------------------


def test_other_bits_cover_the_same_range(graph) -> None:
    model = quantized(graph, 4)
    list(make("rtn").learn(model, task()))
    reach = model.quantizer("stem.w").reach()
    model.regrid("stem.w", 6)
    assert model.asked["stem.w"] == model.sites["stem.w"].grid == model.quantizer("stem.w").grid
    assert torch.allclose(model.quantizer("stem.w").reach(), reach)
    assert next(iter(model.state())) == "bits/stem.w"
    model.regrid("stem.w", 4)
    assert not any(key.startswith("bits/") for key in model.state())
    with pytest.raises(RecipeError, match=r"'stem\.b' has no bits to choose"):
        model.regrid("stem.b", 8)


def test_a_group_of_activations_changes_together(graph) -> None:
    model = quantized(graph, 4)
    list(make("rtn").learn(model, task()))
    follower = next(s for s in model.sites.values() if s.shares is not None)
    leader = follower.shares
    group = {leader, *(s.name for s in model.sites.values() if s.shares == leader)}
    model.regrid(follower.name, 5)
    assert {model.sites[name].grid.bits for name in group} == {5}
    assert {model.frozen()[name].grid.bits for name in group} == {5}
    fresh = quantized(graph, 4).eval()
    fresh.load_state(model.state())
    x = examples(seed=3, count=8)
    with torch.no_grad():
        assert torch.equal(fresh(x)[0], model(x)[0])


def test_a_state_without_bits_brings_back_the_first(graph) -> None:
    first, model = quantized(graph, 4), quantized(graph, 4)
    list(make("rtn").learn(first, task()))
    model.regrid("stem.w", 6)
    model.load_state(first.state())
    assert model.asked["stem.w"].bits == 4


# --- what it is good for --------------------------------------------------------------------------


@pytest.mark.slow
def test_three_mixed_bits_are_better_than_three_everywhere() -> None:
    session = workbench.open("digits-mobilenet")
    recipe = session.recipe(weights=3, activations=8, method="rtn")
    batches = list(session.data.batches("calibration", 50, 200))
    held = [inputs for inputs, _ in session.data.batches("test", 100, 400)]

    def distance(method: str, options: dict) -> float:
        model = build(session, recipe).eval()
        given = Task(lambda: (inputs for inputs, _ in batches), 200, 0)
        given.lessons = lambda: iter(batches)
        list(make(method, options).learn(model, given))
        with torch.no_grad():
            found = [kl_divergence(session.model(*x)[0], model(*x)[0]) for x in held]
        return sum(float(value) for value in found) / len(found)

    nearest = distance("rtn", {})
    mixed = distance("fracbits", {"epochs": 2, "batch_size": 20})
    assert mixed < nearest
