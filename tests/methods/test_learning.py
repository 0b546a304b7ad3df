"""Every method learns: contract over the registry, and who beats whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.methods.nets import EXAMPLES, examples, labelled, network, quantized, recurrent, task
from workbench.foundation.errors import RecipeError
from workbench.foundation.options import controls
from workbench.foundation.taxonomy import STRATEGIES, cells
from workbench.graph.quantized import QuantizedGraph
from workbench.maths.metrics import sqnr_db
from workbench.methods.base import Event
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import METHODS, make
from workbench.quantizers.codes import Codes
from workbench.quantizers.registry import QUANTIZERS

#: rows of the training loop
TRAINED = [entry.name for entry in METHODS if issubclass(entry.make, NetworkTraining)]
#: options that make a method fast on a network of five small layers
QUICK = {
    **{name: {"epochs": 3, "batch_size": 16} for name in TRAINED},
    "lapq": {"rounds": 1},
    "ptq4vit": {"candidates": 12, "rounds": 1, "examples": 16},
    **{
        name: {"iterations": 20, "batch_size": 8}
        for name in (
            "adaround", "adaquant", "autoround", "block_ap", "brecq", "flexround", "mrecg",
            "omniquant", "pd_quant", "qdrop", "reconstruct",
        )
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def graph():
    return network()


def learn(
    model: QuantizedGraph, name: str, options: Mapping | None = None, **fields
) -> list[Event]:
    chosen = QUICK.get(name, {}) if options is None else options
    method = make(name, chosen)
    if isinstance(method, NetworkTraining) and method.plan().needs("labels"):
        fields["lessons"] = lambda: labelled(model.graph)
    return list(method.learn(model, task(**fields)))


def quality(model: QuantizedGraph) -> float:
    """SQNR of the logits on examples that were not calibrated on."""
    x = examples(seed=9, count=200)
    with torch.no_grad():
        return sqnr_db(model.graph.module(x)[0], model(x)[0])


@pytest.fixture(scope="module")
def at_four_bits(graph) -> Callable[[str], tuple[QuantizedGraph, list[Event]]]:
    """What a method made of the network and what it said; not to be changed."""

    @cache
    def learned(name: str) -> tuple[QuantizedGraph, list[Event]]:
        model = quantized(graph, bits=4)
        return model, learn(model, name)

    return learned


@pytest.mark.parametrize("entry", list(METHODS), ids=lambda e: e.name)
class TestContract:
    def test_says_what_it_is(self, entry) -> None:
        assert entry.title
        assert entry.description
        assert entry.citation
        assert set(entry.facts) >= {"signal", "scope", "learnables", "data", "cost", "use"}
        assert cells(entry.facts["cells"])
        assert entry.facts["strategy"] in STRATEGIES
        assert all(control.help for control in controls(entry.options))

    def test_every_site_gets_a_range_and_exports(self, at_four_bits, entry) -> None:
        model, events = at_four_bits(entry.name)
        assert events
        assert all(event.method for event in events)
        assert events[-1].step == events[-1].total
        for name, frozen in model.frozen().items():
            assert bool((frozen.scale > 0).all()), name
            assert bool((frozen.scale != 1).any()), name
        assert quality(model) > 12

    def test_every_site_can_be_watched(self, at_four_bits, entry) -> None:
        model, events = at_four_bits(entry.name)
        seen: dict[str, set[str]] = {}
        own: set[str] = set()
        for event in events:
            own |= set(event.sites) if event.method == entry.name else set()
            for name, found in event.sites.items():
                seen.setdefault(name, set()).update(found.values)
        moved = set() if entry.facts["signal"] == "tensor error" else {"flips"}
        for site in model.of_kind("weight"):
            assert seen[site.name] >= {"scale", "clipped", *moved}, site.name
            assert site.name in own
        for site in model.of_kind("activation"):
            if site.shares is None:
                assert seen[site.name] >= {"scale", "clipped"}, site.name

    def test_same_seed_same_result(self, graph, entry) -> None:
        first, second = quantized(graph), quantized(graph)
        learn(first, entry.name, seed=3)
        learn(second, entry.name, seed=3)
        ours, theirs = first.state(), second.state()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items())

    def test_state_restores_the_very_model(self, graph, entry) -> None:
        model, other = quantized(graph), quantized(graph)
        learn(model, entry.name)
        other.load_state(model.state())
        x = examples(seed=5)
        with torch.no_grad():
            assert torch.equal(model(x)[0], other(x)[0])

    def test_unknown_option_is_refused_with_the_known_ones(self, entry) -> None:
        with pytest.raises(RecipeError, match="has no option 'speed'"):
            make(entry.name, {"speed": 3})


class StoppedError(Exception):
    """The run was ended here."""


class Memory:
    """A checkpoint in memory that ends the run after some saves."""

    def __init__(self, stop_after: int) -> None:
        self.stored = None
        self.left = stop_after

    def save(self, tensors, step: int) -> None:
        self.stored = ({k: v.clone() for k, v in tensors.items()}, step)
        self.left -= 1
        if self.left == 0:
            raise StoppedError

    def load(self):
        return self.stored


@pytest.mark.parametrize(
    "name",
    ["gram", "adaround", "qdrop", "adaquant", "lsq", "n2uq", "qkd", "steady", "lapq", "ptq4vit"],
)
def test_a_stopped_run_resumed_gives_what_an_unbroken_one_gives(
    graph,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workbench.methods.resume.SAVE_EVERY_SECONDS", 0.0)
    whole, broken = quantized(graph), quantized(graph)
    learn(whole, name)
    checkpoint = Memory(stop_after=2)
    with pytest.raises(StoppedError):
        learn(broken, name, checkpoint=checkpoint)
    again = quantized(graph)
    learn(again, name, checkpoint=checkpoint)
    x = examples(seed=5)
    with torch.no_grad():
        assert torch.allclose(whole(x)[0], again(x)[0], atol=1e-5)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_gram_beats_nearest_rounding_on_held_out_data(graph, bits: int) -> None:
    naive, learned = quantized(graph, bits, None), quantized(graph, bits, None)
    learn(naive, "rtn")
    learn(learned, "gram")
    assert quality(learned) > quality(naive) + 3


@pytest.mark.parametrize("bits", [8, 3])
def test_gram_learns_both_weights_of_a_recurrence(bits: int) -> None:
    graph = recurrent()
    naive, learned = quantized(graph, bits, None), quantized(graph, bits, None)
    learn(naive, "rtn")
    learn(learned, "gram")
    assert quality(naive) > 6 * bits - 12
    assert quality(learned) > quality(naive) - 0.5


def test_each_part_of_gram_helps(graph) -> None:
    def after(**options: object) -> float:
        model = quantized(graph, 3, None)
        learn(model, "gram", options)
        return quality(model)

    everything = after()
    assert everything > after(sweeps=0, refits=0)
    assert everything > after(compensate=False) - 1.0
    assert everything > after(bias_correction=False) - 1.0


def test_adaround_beats_nearest_rounding(graph) -> None:
    naive, learned = quantized(graph, 3, None), quantized(graph, 3, None)
    learn(naive, "rtn")
    events = learn(learned, "adaround", {"iterations": 300, "batch_size": 8})
    assert quality(learned) > quality(naive)
    assert events[-1].values["open"] < 0.1
    assert isinstance(learned.quantizer("stem.w"), Codes)


def test_lsq_lowers_its_loss_and_lifts_the_output(graph) -> None:
    naive, trained = quantized(graph, 2, None), quantized(graph, 2, None)
    learn(naive, "rtn")
    events = learn(trained, "lsq", {"epochs": 30, "learning_rate": 3e-3, "batch_size": 16})
    losses = [e.values["loss"] for e in events if "loss" in e.values]
    assert losses[-1] < losses[0]
    assert quality(trained) > quality(naive)


def test_lsq_learns_the_same_from_files(
    graph, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    held, spilled = quantized(graph), quantized(graph)
    learn(held, "lsq")
    written: list[int] = []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("workbench.methods.shelf._budget", lambda: 0)
    for event in make("lsq", QUICK["lsq"]).learn(spilled, task()):
        written += (
            [len(list(tmp_path.rglob("*.pt")))]
            if event.kind == "layer" and event.method == "lsq"
            else []
        )
    assert written == [EXAMPLES] * QUICK["lsq"]["epochs"]
    assert not list(tmp_path.iterdir())
    ours, theirs = held.state(), spilled.state()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


@pytest.mark.parametrize(
    "entry",
    [e for e in QUANTIZERS if not {"weights_only", "activations_only"} & set(e.facts)],
    ids=lambda e: e.name,
)
def test_training_takes_any_registered_quantizer(graph, entry) -> None:
    model = quantized(graph, bits=4)
    learn(model, "train", {"epochs": 2, "weights": entry.name, "activations": entry.name})
    assert type(model.quantizer("depth.w")) is entry.make
    assert quality(model) > 12


def test_a_quantizer_of_weights_only_is_refused_for_training() -> None:
    with pytest.raises(RecipeError, match="unknown quantizer of activations 'codes'"):
        make("train", {"activations": "codes"})
    with pytest.raises(RecipeError, match="unknown quantizer of weights 'twin'"):
        make("train", {"weights": "twin"})


def test_group_wise_weights_learn_too(graph) -> None:
    from workbench.graph.targets import WeightGrid, target

    request = WeightGrid(bits=3, granularity="group", group_size=4)
    sites = target("weight-only").sites(graph, request, None, edges=None)
    model = QuantizedGraph(graph, sites)
    learn(model, "gram")
    frozen = model.frozen()
    assert frozen["mix.w"].scale.shape == (2, 12)
    assert frozen["head.w"].scale.shape == (5, 3)


def test_per_tensor_weights_learn_too(graph) -> None:
    from workbench.graph.targets import WeightGrid, target

    sites = target("weight-only").sites(graph, WeightGrid(bits=4, granularity="tensor"), None)
    model = QuantizedGraph(graph, sites)
    learn(model, "gram")
    assert all(frozen.scale.shape == () for frozen in model.frozen().values())
