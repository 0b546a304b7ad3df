"""The named rows of training: what each puts where, and that what it leaves runs as simulated."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch

from tests.methods.nets import examples, labelled, network, quantized, task
from tests.methods.test_learning import TRAINED as EVERY
from tests.methods.test_learning import Memory, StoppedError, quality
from workbench.deploy.export import export
from workbench.deploy.verify import verify
from workbench.foundation.errors import RecipeError
from workbench.graph.quantized import QuantizedGraph
from workbench.methods.base import Event
from workbench.methods.network_plan import NetworkPlan, use
from workbench.methods.network_training import NetworkTraining
from workbench.methods.plan import SignalUse
from workbench.methods.registry import make
from workbench.quantizers.codes import Codes
from workbench.quantizers.pact import Pact
from workbench.quantizers.registry import QUANTIZERS

#: one needs a network with corrections, and has tests of its own
TRAINED = [name for name in EVERY if name != "qlora"]
#: bits of weights and activations, and the quantizers that a row puts there
OWN = {
    "lsq": (2, 8, "lsq", "lsq"),
    "lsq_plus": (4, 4, "lsq_plus", "lsq_plus"),
    "pact": (4, 4, "dorefa", "pact"),
    "dorefa": (2, 8, "dorefa", "lsq"),
    "qil": (2, 8, "qil", "lsq_plus"),
    "tqt": (4, 8, "tqt", "tqt"),
    "apot": (4, 4, "apot_weight", "apot"),
    "llt": (4, 4, "llt_weight", "llt"),
    "n2uq": (4, 4, "n2uq_weight", "n2uq"),
    "ewgs": (2, 8, "lsq", "lsq"),
    "dsq": (2, 8, "lsq", "lsq"),
    "twn": (2, 8, "twn", "lsq"),
    "ttq": (2, 8, "ttq", "lsq"),
    "bitnet": (2, 8, "absmean", "lsq"),
    "binaryconnect": (1, 8, "binary", "lsq"),
    "xnor": (1, 1, "binary", "react"),
    "reactnet": (1, 1, "react_sign", "react"),
    "paretoq": (2, 8, "seq", "lsq"),
    "sqakd": (4, 4, "lsq", "lsq"),
    "qkd": (3, 8, "lsq", "lsq"),
    "kd": (3, 8, "lsq", "lsq"),
    "steady": (3, 8, "lsq", "lsq"),
    "kure": (3, 8, "lsq", "lsq"),
    "e2e_qp": (4, 4, "codes", "lsq"),
    "fracbits": (3, 8, "lsq", "lsq"),
    "edmips": (3, 8, "lsq", "lsq"),
    "train": (2, 8, "lsq", "lsq"),
}
QUICK = {"epochs": 2, "batch_size": 16}


@pytest.fixture(scope="module")
def graph():
    return network()


def row(name: str, **options: object) -> NetworkTraining:
    method = make(name, options)
    assert isinstance(method, NetworkTraining)
    return method


def learn(model: QuantizedGraph, name: str, options: Mapping = QUICK, **fields) -> list[Event]:
    lessons = (lambda: labelled(model.graph)) if name in {"kd", "qkd"} else None
    return list(make(name, options).learn(model, task(lessons=lessons, **fields)))


def test_every_row_is_there() -> None:
    assert set(TRAINED) == set(OWN)


@pytest.mark.parametrize("name", TRAINED)
def test_rows_survive_toml_and_json(name: str) -> None:
    plan = row(name).plan()
    assert NetworkPlan.from_toml(plan.toml()) == plan
    assert NetworkPlan.model_validate_json(plan.model_dump_json()) == plan


def test_rows_differ_where_the_papers_do() -> None:
    assert row("ewgs", delta=0.01).plan().estimator == "ewgs:delta=0.01"
    assert row("dsq").plan().estimator == "dsq:alpha=0.2"
    assert row("paretoq", levels="ternary").plan().weights == "seq:levels=ternary"
    assert row("binaryconnect", scale="none").plan().weights == "binary:scale=none"
    assert row("tqt", power_of_two=False).plan().activations == "tqt:power_of_two=false"
    assert row("reactnet").plan().signals[0].options == {"temperature": 1.0}
    assert row("e2e_qp").plan().moves == "scales"
    assert [s.name for s in row("kd").plan().signals] == ["labels", "logits", "features"]
    assert {s.name: s.weight for s in row("steady").plan().signals}["dampening"] == 0.1
    assert row("steady").plan().freeze == 0.01
    assert "kurtosis" in {s.name for s in row("kure").plan().signals}
    assert not row("sqakd").plan().needs("labels")
    with pytest.raises(RecipeError, match="not from 'labels'; take kd"):
        make("sqakd", {"labels": 1.0})


@pytest.mark.parametrize("name", TRAINED)
def test_a_row_exports_and_runs_as_simulated(graph, name: str, tmp_path) -> None:
    bits, active, weights, activations = OWN[name]
    model = quantized(graph, bits, active)
    learn(model, name)
    assert kinds(model, "weight") == {weights}
    assert activations in kinds(model, "activation")
    path = export(model, tmp_path / "m.onnx").path
    found = verify(path, model, [(part,) for part in examples(1).split(24)])
    assert found.ok, found.sentence()
    assert found.modes[0].verdict == "equal"
    assert not found.differing_stored


def kinds(model: QuantizedGraph, kind: str) -> set[str]:
    """Names of the quantizers on the sites of a kind."""
    names = {entry.make: entry.name for entry in QUANTIZERS}
    own = (site for site in model.of_kind(kind) if site.shares is None)
    return {names[type(model.quantizer(site.name))] for site in own}


def test_what_a_row_does_not_serve_is_told(graph) -> None:
    model = quantized(graph, 4, 8)
    texts = [event.text for event in learn(model, "twn")]
    assert "'lsq' takes the place of 'twn' on 5 sites" in texts
    assert not any("takes the place" in e.text for e in learn(quantized(graph, 2), "twn"))


@pytest.mark.parametrize("name", ["lsq", "pact", "ttq"])
def test_bits_are_passed_through_on_the_way(graph, name: str) -> None:
    bits = OWN[name][0]
    model = quantized(graph, bits)
    seen = []
    method = row(name, epochs=6, batch_size=16, bits="8,4" if bits < 4 else "8,6")
    for event in method.learn(model, task()):
        if event.kind == "layer" and event.method == name:
            grid = model.quantizer("mix.w").asked
            seen.append(grid.bits)
    assert seen == [8, 8, 4, 4, bits, bits] if bits < 4 else [8, 8, 6, 6, bits, bits]
    assert kinds(model, "weight") == {OWN[name][2]}
    assert model.asked["mix.w"].bits == bits


@pytest.mark.slow
def test_stopped_between_its_bits_a_course_goes_on_as_if_unbroken(graph) -> None:
    options = {"epochs": 6, "batch_size": 16, "bits": "8,4", "keep_best": True}
    whole, broken, again = (quantized(graph, 2) for _ in range(3))
    learn(whole, "lsq", options)
    for stop_after in (2, 3):
        checkpoint = Memory(stop_after)
        with pytest.raises(StoppedError):
            learn(broken, "lsq", options, checkpoint=checkpoint)
        learn(again, "lsq", options, checkpoint=checkpoint)
        ours, theirs = whole.state(), again.state()
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
        broken, again = quantized(graph, 2), quantized(graph, 2)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [2, 3])
def test_efficient_qat_is_two_stages(graph, bits: int, tmp_path) -> None:
    model, single = quantized(graph, bits), quantized(graph, bits)
    learn(single, "e2e_qp", {"epochs": 1})
    learn(model, "block_ap", {"iterations": 60, "batch_size": 16})
    before, first = held(model), quality(model)
    scales = {name: frozen.scale for name, frozen in model.frozen().items()}
    learn(model, "e2e_qp", {"epochs": 10, "batch_size": 16, "scale_learning_rate": 3e-3})
    after = held(model)
    assert all(torch.equal(codes, after[name]) for name, codes in before.items())
    assert any(not torch.equal(f.scale, scales[n]) for n, f in model.frozen().items())
    assert quality(model) > first
    assert quality(model) > quality(single)
    path = export(model, tmp_path / "m.onnx").path
    assert verify(path, model, [(examples(1),)]).ok


def held(model: QuantizedGraph) -> dict[str, torch.Tensor]:
    """The fixed codes of every weight."""
    found = {site.name: model.quantizer(site.name) for site in model.of_kind("weight")}
    assert all(isinstance(quantizer, Codes) for quantizer in found.values())
    return {name: quantizer.get_buffer("chosen").clone() for name, quantizer in found.items()}


class TestPhases:
    def test_qkd_begins_with_labels_alone(self, graph) -> None:
        model = quantized(graph, 3)
        options = {"epochs": 10, "batch_size": 16, "self_study": 0.4, "co_study": 0.2}
        told = [e for e in learn(model, "qkd", options) if e.kind == "layer" and e.method == "qkd"]
        assert ["logits" in event.values for event in told] == [False] * 4 + [True] * 6
        weights = [
            sum(use.weight_at(step, 10) for use in row("qkd", **options).plan().signals)
            for step in range(1, 11)
        ]
        assert weights == pytest.approx([1] * 4 + [1.5] * 2 + [2] * 4)

    def test_without_labels_qkd_says_so(self, graph) -> None:
        with pytest.raises(RecipeError, match="labels"):
            list(make("qkd", QUICK).learn(quantized(graph), task()))

    def test_a_gap_without_any_signal_is_refused(self) -> None:
        with pytest.raises(RecipeError, match=r"no signal counts after '0.5'"):
            NetworkPlan.parse({"signals": (use("logits", end=0.5),)}, "plan")
        with pytest.raises(RecipeError, match=r"no signal counts after '0.0'"):
            NetworkPlan.parse({"signals": (use("logits", begin=0.5),)}, "plan")
        with pytest.raises(ValueError, match=r"begins at '0.5' and ends at '0.5'"):
            SignalUse(name="logits", begin=0.5, end=0.5)


def test_frozen_codes_outlive_the_running_mean(graph) -> None:
    model = quantized(graph, 2)
    options = {
        "epochs": 8, "batch_size": 8, "learning_rate": 0.03, "freeze": 0.0005, "mean": 0.9,
        "fall": "none",
    }  # fmt: skip
    told = [event for event in learn(model, "steady", options) if event.method == "steady"]
    sites = told[-1].sites
    shares = {s.name: sites[s.name].values.get("frozen", 0.0) for s in model.of_kind("weight")}
    assert max(shares.values()) > 0.05
    for site in model.of_kind("weight"):
        share = shares[site.name]
        quantizer, weight = model.quantizer(site.name), model.weight(site.name).detach()
        on_level = (quantizer(weight) - weight).abs() < 1e-6 * weight.abs().max()
        assert float(on_level.float().mean()) >= share - 1e-6, site.name


def test_a_penalty_holds_clips_back(graph) -> None:
    def clips(decay: float) -> float:
        model = quantized(graph, 4, 4)
        learn(model, "pact", {**QUICK, "decay": decay, "scale_learning_rate": 0.05})
        found = (model.quantizer(site.name) for site in model.of_kind("activation"))
        return math.fsum(
            float(q.get_parameter("alpha").detach()) for q in found if isinstance(q, Pact)
        )

    assert clips(0.5) < clips(0.0) - 0.1
