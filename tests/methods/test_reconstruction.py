"""The loop: units cut and run rightly, masks drawn, faults noticed, results exported."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from tests.methods.nets import BATCH, EXAMPLES, examples, network, quantized, recurrent, task
from workbench.deploy.export import export
from workbench.deploy.runtime import open_session, run
from workbench.graph import capture
from workbench.methods.base import Event, Task
from workbench.methods.plan import Learnable, Plan, Schedule, SignalUse
from workbench.methods.reconstruction import Reconstruction, ReconstructionOptions, rebatched
from workbench.methods.registry import make
from workbench.methods.training import _mask
from workbench.methods.units import grouped, units
from workbench.methods.walk import UnitStop, Walk
from workbench.quantizers.codes import Codes
from workbench.quantizers.lsq import LSQ
from workbench.quantizers.uniform import Uniform

ROUNDING = (Learnable(name="rounding", learning_rate=0.03),)
ERROR = (SignalUse(name="output_error"),)


class Row(Reconstruction):
    """Any plan as a method."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(ReconstructionOptions())
        self._plan = plan

    def plan(self) -> Plan:
        return self._plan


@pytest.fixture(scope="module")
def graph():
    return network()


def learn(model, plan: Plan, **fields) -> list[Event]:
    return list(Row(plan).learn(model, task(**fields)))


def plan(**fields: object) -> Plan:
    chosen = {"learnables": ROUNDING, "signals": ERROR, "schedule": Schedule(iterations=8)}
    return Plan(**{**chosen, **fields})


def of_sites(model, kind: type) -> set[str]:
    return {name for name in model.sites if type(model.quantizer(name)) is kind}


class TestUnits:
    def test_layers_come_with_their_activation(self, graph) -> None:
        found = {unit.name: unit.nodes for unit in units(quantized(graph), "layer")}
        assert found["stem"] == {"stem", "stem.relu"}
        assert found["point"] == {"point"}
        assert set(found) == {"stem", "depth", "point", "mix", "head"}

    def test_blocks_hold_every_layer_once(self, graph) -> None:
        found = units(quantized(graph), "block")
        held = list(itertools.chain(*(unit.layers for unit in found)))
        assert sorted(held) == sorted(["stem", "depth", "point", "mix", "head"])
        assert any({"depth", "point", "sum"} <= unit.nodes for unit in found)

    def test_blocks_are_joined_by_count(self, graph) -> None:
        model = quantized(graph)
        single = units(model, "block")
        pairs = units(model, "blocks", 2)
        assert len(pairs) == -(-len(single) // 2)
        assert pairs[0].nodes == single[0].nodes | single[1].nodes

    def test_the_pair_of_most_unlike_capacity_is_merged(self, graph) -> None:
        model = quantized(graph)
        single = units(model, "block")
        merged = units(model, "blocks", 1, "capacity")
        assert len(merged) == len(single) - 1
        assert [u.layers[0] for u in merged] == sorted(
            (u.layers[0] for u in merged), key=[u.layers[0] for u in single].index
        )

    def test_the_network_is_one(self, graph) -> None:
        (whole,) = units(quantized(graph), "network")
        assert len(whole.layers) == 5

    def test_layers_left_float_are_no_unit(self, graph) -> None:
        model = quantized(graph)
        del model.sites["mix.w"]
        assert "mix" not in {unit.name for unit in units(model, "layer")}

    @pytest.mark.parametrize("scope", ["layer", "block", "blocks", "network"])
    def test_every_node_comes_once_and_after_what_it_reads(self, graph, scope: str) -> None:
        model = quantized(graph)
        nodes = list(model.module.graph.nodes)
        order = [n for _, part in grouped(nodes, units(model, scope, 2)) for n in part]
        place = {node: index for index, node in enumerate(order)}
        assert sorted(place, key=nodes.index) == nodes
        assert all(place[s] < place[n] for n in order for s in n.all_input_nodes)


@pytest.mark.parametrize("scope", ["layer", "block", "network"])
@pytest.mark.parametrize("make_graph", [network, recurrent])
def test_a_unit_gives_what_the_networks_compute(scope: str, make_graph) -> None:
    graph = make_graph()
    model = quantized(graph)
    for _ in make("rtn").learn(model, task()):
        pass
    x = examples()
    with torch.no_grad():
        floats, simulated = capture(graph.module, (x,)), capture(model.module, (x,))
        logits = graph.module(x)[0]
    seen = 0
    for stop in Walk(model, task().batches(), units=units(model, scope)):
        if not isinstance(stop, UnitStop):
            continue
        program = stop.program()
        for batch, rows in enumerate(torch.arange(len(x)).split(BATCH)):
            reference = stop.reference(batch)
            values = program.run(
                stop.inputs(batch)[1],
                lambda node, v: model.quantizer(node.meta["site"])(v),
                stop.outputs,
            )
            assert torch.allclose(stop.predict(batch, reference), logits[rows], atol=1e-4)
            for node, left, right in zip(stop.outputs, reference, values, strict=True):
                name = node.meta.get("onnx_value")
                if name in floats and floats[name].shape[0] == len(x):
                    assert torch.allclose(left, floats[name][rows], atol=1e-4)
                    assert torch.allclose(right, simulated[name][rows], atol=1e-4)
                    seen += 1
    assert seen or scope == "network"


def test_batches_are_cut_but_not_joined(graph) -> None:
    model = quantized(graph)
    sizes = [len(batch[0]) for batch in rebatched(model, task(), 6)]
    assert sizes == [6, 6, 4] * 3
    assert [len(batch[0]) for batch in rebatched(model, task(), 64)] == [16] * 3


def test_what_learns_is_what_the_plan_names(graph) -> None:
    scales = Learnable(name="activation_scale", learning_rate=0.01)
    bias = Learnable(name="bias", learning_rate=0.01)
    model = quantized(graph)
    learn(model, plan(learnables=(*ROUNDING, scales, bias)))
    assert of_sites(model, Codes) == {s.name for s in model.of_kind("weight")}
    assert of_sites(model, LSQ)
    assert any(key.startswith("parameter/") for key in model.state())
    only = quantized(graph)
    learn(only, plan(learnables=(scales,)))
    assert not of_sites(only, Codes)
    plain = quantized(graph)
    learn(plain, plan())
    assert not of_sites(plain, LSQ)
    assert len(of_sites(plain, Uniform)) > 3
    assert not any(key.startswith("parameter/") for key in plain.state())


@pytest.mark.parametrize("scope", ["layer", "block", "blocks", "network"])
@pytest.mark.parametrize("inputs", ["float", "quantized", "mixed"])
def test_any_scope_with_any_inputs(graph, scope: str, inputs: str) -> None:
    model = quantized(graph, bits=4)
    events = learn(model, plan(scope=scope, inputs=inputs))
    assert events[-1].kind == "layer"
    assert events[-1].step == events[-1].total
    assert of_sites(model, Codes) == {s.name for s in model.of_kind("weight")}


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.999])
def test_masks_hold_the_share_asked_for_everywhere(share: float) -> None:
    found = _mask(torch.Size((8, 4, 5003)), share, torch.Generator().manual_seed(1)).float()
    assert float(found.mean()) == pytest.approx(share, abs=0.01)
    assert all(float(row.mean()) == pytest.approx(share, abs=0.02) for row in found)
    neighbours = (found.flatten()[1:] * found.flatten()[:-1]).mean()
    assert float(neighbours) == pytest.approx(share**2, abs=0.01)


def first_losses(graph, **fields: object) -> dict[str, float]:
    """Loss at the first step of each unit, with all examples in one batch."""
    schedule = Schedule(iterations=2, batch_size=EXAMPLES)
    row = Row(plan(scope="block", schedule=schedule, **fields))
    whole = Task(lambda: iter([(examples(),)]), EXAMPLES)
    events = list(row.learn(quantized(graph, bits=3, activations=3), whole))
    losses: dict[str, float] = {}
    for event in events:
        if event.kind == "step":
            losses.setdefault(str(event.site), event.values["loss"])
    return losses


def test_keeping_everything_quantized_is_no_dropping(graph) -> None:
    kept = first_losses(graph, inputs="mixed", keep=1.0)
    assert kept == first_losses(graph, inputs="quantized")


def test_dropping_everything_leaves_the_float_unit(graph) -> None:
    """Rounding starts with the float weight inside the range, so only clipping is left."""
    dropped = first_losses(graph, inputs="mixed", keep=0.0)
    half = first_losses(graph, inputs="mixed", keep=0.5)
    kept = first_losses(graph, inputs="mixed", keep=1.0)
    for name in kept:
        assert dropped[name] < half[name] < kept[name]


def test_events_carry_the_signals(graph) -> None:
    signals = (*ERROR, SignalUse(name="rounding_regulariser", weight=0.1))
    events = learn(quantized(graph), plan(signals=signals))
    steps = [event for event in events if event.kind == "step"]
    assert {"loss", "output_error", "rounding_regulariser", "gradient", "flips", "open", "scale",
            "clipped"} <= set(steps[-1].values)  # fmt: skip
    assert sum(steps[-1].counts["h"]) == 5 * 12
    values = steps[-1].values
    parts = values["output_error"] + values["rounding_regulariser"]
    assert values["loss"] == pytest.approx(parts, rel=1e-5)
    assert all(event.values["seconds"] > 0 for event in events if event.kind == "layer")


def test_batches_held_out_judge(graph) -> None:
    events = list(
        Row(plan()).learn(quantized(graph), Task(lambda: ((x,) for x in examples().split(8)), 48))
    )
    learned = [event.values for event in events if event.kind == "step" and event.values]
    assert learned
    assert all("held_out" in values for values in learned)


def test_divergence_is_noticed_and_nearest_rounding_kept(graph) -> None:
    wild = (Learnable(name="weights", learning_rate=10.0),)
    model, nearest = (
        quantized(graph, bits=4, activations=None),
        quantized(graph, bits=4, activations=None),
    )
    events = learn(model, plan(quantizer="adaquant", learnables=wild))
    notes = [event.text for event in events if event.kind == "note"]
    assert any(
        "did not beat nearest rounding" in note and "learning rate" in note for note in notes
    )
    for _ in make("rtn").learn(nearest, task()):
        pass
    ours, theirs = model.frozen(), nearest.frozen()
    assert all(torch.equal(ours[n].codes, theirs[n].codes) for n in ("stem.w", "head.w"))


def test_numbers_that_overflow_end_at_nearest_rounding(graph) -> None:
    wild = (Learnable(name="rounding", learning_rate=10.0),)
    model = quantized(graph, bits=4, activations=None)
    schedule = Schedule(iterations=60)
    events = learn(model, plan(quantizer="flexround", learnables=wild, schedule=schedule))
    notes = [event.text for event in events if event.kind == "note"]
    assert any("diverged" in note and "lower the learning rate" in note for note in notes)
    with torch.no_grad():
        assert bool(model(examples())[0].isfinite().all())


def test_a_unit_that_no_gradient_reaches_is_called_dead() -> None:
    graph = network()
    with torch.no_grad():
        graph.module.get_parameter(graph.attribute_of["stem.b"]).fill_(-100)
    events = learn(quantized(graph, bits=4, activations=None), plan())
    notes = {event.site: event.text for event in events if event.kind == "note"}
    assert "'stem' is dead" in notes["stem"]
    assert "head" not in notes or "dead" not in notes["head"]


def test_patience_ends_early(graph) -> None:
    still = (Learnable(name="rounding", learning_rate=1e-6),)
    schedule = Schedule(iterations=200, patience=2)
    events = learn(quantized(graph), plan(learnables=still, schedule=schedule))
    last = [e for e in events if e.kind == "step" and e.site == "head"][-1]
    assert "step 50 " in last.text or "step 100 " in last.text


@pytest.mark.parametrize("signal", ["fisher", "prediction_difference"])
def test_signals_of_the_whole_network_lift_it(graph, signal: str) -> None:
    model = quantized(graph, bits=4)
    use = SignalUse(name=signal)
    events = learn(model, plan(scope="block", signals=(use,)))
    assert any(event.values.get(signal, 0) > 0 for event in events)


def test_a_learned_network_is_equal_in_onnx_runtime(graph, tmp_path: Path) -> None:
    model = quantized(graph, bits=4).eval()
    scales = Learnable(name="activation_scale", learning_rate=0.01)
    learn(model, plan(scope="block", inputs="mixed", learnables=(*ROUNDING, scales)))
    export(model, tmp_path / "learned.onnx")
    x = examples(seed=4)
    session = open_session(tmp_path / "learned.onnx", optimise=False)
    theirs = torch.from_numpy(next(iter(run(session, (x,)).values())))
    with torch.no_grad():
        ours = model(x)[0]
    assert float(ours.abs().max()) > 0.1
    assert torch.allclose(ours, theirs, atol=1e-4)
