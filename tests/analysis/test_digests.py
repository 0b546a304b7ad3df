"""Digests of values: equal exactly where the values have the same origins."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import network, quantized, task
from workbench.analysis.digests import Digests
from workbench.analysis.partial import FLOAT, everything
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.taps import value_nodes
from workbench.methods.registry import make


def rounded(**options: str) -> QuantizedGraph:
    found = quantized(network(), bits=3)
    for _ in make("rtn", options).learn(found, task()):
        pass
    return found


@pytest.fixture
def model() -> QuantizedGraph:
    return rounded()


def named(model: QuantizedGraph, whole: bool = True, version: str = "") -> dict[str, str]:
    found = Digests(model, version).of(everything(model) if whole else FLOAT)
    return {name: found[node] for name, node in value_nodes(model.module).items()}


def test_the_same_learned_twice_and_in_other_ways(model: QuantizedGraph) -> None:
    assert named(model) == named(rounded())
    other = named(rounded(calibrator="minmax"))
    assert {name for name, digest in named(model).items() if digest == other[name]} == {"x"}
    assert named(model, whole=False) == named(rounded(calibrator="minmax"), whole=False)
    assert named(model)["stem"] != named(model, whole=False)["stem"]
    assert named(model)["x"] != named(model, version="2")["x"]


def test_a_change_reaches_what_reads_it(model: QuantizedGraph) -> None:
    before = named(model)
    with torch.no_grad():
        model.parameter("depth.b").add_(0.1)
    after = named(model)
    reached = {name for name in before if before[name] != after[name]}
    untouched = {"x", "stem", "stem.relu"}
    assert reached == before.keys() - untouched
