"""Stages in a row: where one ended, the next begins."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import network, quantized, task
from workbench.methods.plan import Learnable, Plan, Schedule, SignalUse
from workbench.methods.reconstruction import Reconstruction, ReconstructionOptions
from workbench.methods.registry import make
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
