"""Methods for transformers: RepQ-ViT and PTQ4ViT."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from tests.methods.nets import examples, network, quantized, task
from tests.methods.transformer import transformer
from workbench.graph.build import build
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.transforms import measure, transform
from workbench.maths.grid import affine_range
from workbench.maths.metrics import sqnr_db
from workbench.methods.calibrate import Observers
from workbench.methods.placing import GELU, SOFTMAX, behind
from workbench.methods.products import products
from workbench.methods.registry import make
from workbench.methods.scale_search import ScaleSearch
from workbench.methods.walk import UnitStop, Walk
from workbench.quantizers.log_sqrt2 import LogSqrt2
from workbench.quantizers.twin import Twin
from workbench.quantizers.uniform import Uniform

QUICK = {
    "candidates": 16,
    "rounds": 1,
    "examples": 48,
    "calibrator": "minmax",
    "weight_calibrator": "minmax",
}


@pytest.fixture(scope="module")
def graph():
    return transformer()


def learn(model: QuantizedGraph, name: str, options: Mapping[str, object] | None = None) -> None:
    list(make(name, options or {}).learn(model, task()))


def quality(model: QuantizedGraph) -> float:
    x = examples(seed=9, count=200)
    with torch.no_grad():
        return sqnr_db(model.graph.module(x)[0], model.eval()(x)[0])


def after(graph, name: str, bits: int, options: Mapping[str, object] | None = None) -> float:
    model = quantized(graph, bits, bits)
    learn(model, name, options)
    return quality(model)


def test_places_are_found_by_their_operator(graph):
    model = quantized(graph, 4, 4)
    assert [site.name for site in behind(model, SOFTMAX)] == ["attention"]
    assert [site.name for site in behind(model, GELU)] == ["gelu"]


class TestRepQVit:
    def test_only_the_softmax_gets_other_levels(self, graph):
        model = quantized(graph, 4, 4)
        learn(model, "repq_vit")
        others = {s.name for s in model.of_kind("activation")} - {"attention"}
        assert isinstance(model.quantizer("attention"), LogSqrt2)
        assert not any(model.quantizer(name).form for name in others)

    def test_with_the_reparametrization_it_beats_the_same_ranges_without(self, graph):
        texts = ["reparametrise:examples=48,activation_bits=4"]
        seen = measure(graph.model, texts, lambda: iter([(examples(),)]))
        changed = build(transform(graph.model, texts, seen)[0])

        def norms_alone(graph) -> float:
            model = quantized(graph, 8, 4)
            learn(model, "repq_vit")
            model.enable(lambda site: site.name in ("norm1", "norm2"))
            return quality(model)

        assert norms_alone(changed) > norms_alone(graph) + 3

    @pytest.mark.parametrize("name", ["qdrop", "lsq"])
    def test_a_next_stage_keeps_the_levels(self, graph, name: str):
        model = quantized(graph, 3, 4)
        learn(model, "repq_vit")
        levels = model.quantizer("attention").frozen().levels
        learn(model, name, {"qdrop": {"iterations": 5}, "lsq": {"epochs": 1}}[name])
        assert isinstance(model.quantizer("attention"), LogSqrt2)
        assert torch.equal(model.quantizer("attention").frozen().levels, levels)

    @pytest.mark.parametrize("bits", [8, 16])
    def test_wide_grids_keep_equal_steps(self, graph, bits: int):
        model = quantized(graph, 8, bits)
        learn(model, "repq_vit")
        assert isinstance(model.quantizer("attention"), Uniform)


class TestPtq4Vit:
    @pytest.mark.slow
    @pytest.mark.parametrize("make_graph", [transformer, network])
    def test_it_beats_ranges_of_single_tensors(self, make_graph):
        graph = make_graph()
        learned = after(graph, "ptq4vit", 3, {**QUICK, "candidates": 30})
        assert learned > after(graph, "rtn", 3, {"calibrator": "minmax"}) + 1
        assert learned > after(graph, "rtn", 3, {"calibrator": "percentile"}) + 1

    def test_the_searched_error_never_grows_and_twins_sit_where_they_should(self, graph):
        model = quantized(graph, 4, 4)
        events = list(
            make("ptq4vit", {**QUICK, "candidates": 6, "examples": 16}).learn(model, task())
        )
        searched = [event for event in events if event.kind == "layer"]
        assert len(searched) == len(products(model))
        for event in searched:
            assert event.values["error_after"] <= event.values["error_before"] * (1 + 1e-6)
        attention, gelu = model.quantizer("attention"), model.quantizer("gelu")
        assert isinstance(attention, Twin)
        assert isinstance(gelu, Twin)
        assert (attention.negative, gelu.negative) == (False, True)
        shift = float((attention.scale / attention.low_scale).log2())
        assert shift == pytest.approx(round(shift), abs=1e-5)

    def test_readers_of_one_tensor_are_searched_together(self, graph):
        found = {unit.name: set(unit.nodes) for unit in products(quantized(graph, 4, 4))}
        assert {"query", "key", "value"} in found.values()
        assert {"scores"} in found.values()
        assert {"mixed"} in found.values()
        assert set.union(*found.values()) == {
            "patch", "query", "key", "value", "scores", "mixed", "project", "expand", "shrink",
            "head",
        }  # fmt: skip

    def test_each_channel_gets_its_own_best_candidate(self, graph):
        """Against trying every candidate on every channel by hand."""
        model, ratios = quantized(graph, 3, 8), [0.4, 0.6, 0.8, 1.0]
        learn(model, "rtn", {"calibrator": "minmax", "weight_calibrator": "minmax"})
        observers = Observers(model, "minmax")
        observers.see((examples(),))
        unit = next(unit for unit in products(model) if unit.name == "head")
        walk = Walk(model, iter([(examples(),)]), prefix="float", units=[unit])
        stop = next(stop for stop in walk if isinstance(stop, UnitStop))
        search = ScaleSearch(model, stop, observers, ratios, torch.Generator().manual_seed(0))
        quantizer, weight = model.quantizer("head.w"), model.weight("head.w").detach()
        low, high = weight.amin(1), weight.amax(1)
        errors = []
        for ratio in ratios:
            quantizer.set_affine(*affine_range(low * ratio, high * ratio, quantizer.grid))
            errors.append(search.error(0, -1))
        best = torch.stack(errors).argmin(0)
        wanted = affine_range(low, high, quantizer.grid)[0] * torch.tensor(ratios)[best]
        search._search(model.sites["head.w"], quantizer)
        assert len(set(best.tolist())) > 1
        assert torch.allclose(quantizer.affine()[0], wanted)
