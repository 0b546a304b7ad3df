"""What a stage before decided is where the next one begins; steps and biases are tuned after it."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import examples, network, quantized, task
from workbench.maths.metrics import sqnr_db
from workbench.methods.plan import Learnable, Plan, Schedule, SignalUse
from workbench.methods.reconstruction import Reconstruction, ReconstructionOptions
from workbench.methods.registry import make
from workbench.quantizers.codes import Codes
from workbench.quantizers.registry import QUANTIZERS


class Row(Reconstruction):
    """A plan that hardly moves anything."""

    def __init__(self, learner: str) -> None:
        super().__init__(ReconstructionOptions())
        learns = set(QUANTIZERS[learner].facts["learns"].values())
        role = "rounding" if "rounding" in learns else "weights"
        self._plan = Plan(
            quantizer=learner,
            learnables=(Learnable(name=role, learning_rate=1e-9),),
            signals=(SignalUse(name="output_error"),),
            schedule=Schedule(iterations=1),
        )

    def plan(self) -> Plan:
        return self._plan


@pytest.fixture(scope="module")
def graph():
    return network()


def learn(model, method) -> None:
    for _ in method.learn(model, task()):
        pass


def codes(model) -> dict[str, torch.Tensor]:
    return {site.name: model.frozen()[site.name].codes for site in model.of_kind("weight")}


def quality(model) -> float:
    x = examples(seed=9, count=200)
    with torch.no_grad():
        return sqnr_db(model.graph.module(x)[0], model(x)[0])


@pytest.mark.parametrize("learner", ["rounding", "adaquant", "flexround", "autoround"])
def test_learners_begin_at_the_codes_of_the_stage_before(graph, learner: str) -> None:
    model = quantized(graph, bits=3, activations=None)
    learn(model, make("gram"))
    before, floats = codes(model), model.float_parameters()["stem.w"].clone()
    nearest = quantized(graph, bits=3, activations=None)
    learn(nearest, make("rtn"))
    assert any(not torch.equal(before[name], other) for name, other in codes(nearest).items())
    learn(model, Row(learner))
    after = codes(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(model.float_parameters()["stem.w"], floats)


def test_tuning_moves_steps_and_biases_but_no_code(graph) -> None:
    model = quantized(graph, bits=3, activations=None)
    learn(model, make("gram"))
    before, scales, first = codes(model), model.frozen()["mix.w"].scale, quality(model)
    bias = model.parameter("head.b").detach().clone()
    learn(model, make("tune", {"iterations": 100, "batch_size": 16, "temperature": 1.0}))
    assert all(torch.equal(before[name], after) for name, after in codes(model).items())
    assert not torch.equal(model.frozen()["mix.w"].scale, scales)
    assert not torch.equal(model.parameter("head.b"), bias)
    assert all(isinstance(model.quantizer(name), Codes) for name in before)
    assert quality(model) > first


def test_tuning_without_a_stage_before_begins_at_nearest_rounding(graph) -> None:
    model, nearest = quantized(graph, bits=4), quantized(graph, bits=4)
    learn(nearest, make("rtn"))
    learn(model, make("tune", {"iterations": 60, "signal": "output_error"}))
    found = codes(nearest)
    assert all(torch.equal(found[name], after) for name, after in codes(model).items())
    assert quality(model) > quality(nearest)
