"""GPTQ as a method: better than nearest rounding, on every granularity; biases stay."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import examples, network, task
from workbench.foundation.errors import RecipeError
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import WeightGrid, target
from workbench.maths.metrics import sqnr_db
from workbench.methods.registry import make
from workbench.quantizers.codes import Codes


@pytest.fixture(scope="module")
def graph():
    return network()


def learned(graph, name: str, options: dict | None = None, **request) -> QuantizedGraph:
    sites = target("weight-only").sites(graph, WeightGrid(**request), None, edges=None)
    model = QuantizedGraph(graph, sites)
    for _ in make(name, options).learn(model, task()):
        pass
    return model


def quality(model: QuantizedGraph) -> float:
    x = examples(seed=9, count=200)
    with torch.no_grad():
        return sqnr_db(model.graph.module(x)[0], model(x)[0])


@pytest.mark.parametrize(
    "request_",
    [
        {"bits": 3},
        {"bits": 4, "granularity": "tensor"},
        {"bits": 3, "granularity": "group", "group_size": 5},
        {"bits": 4, "symmetric": False},
        {"bits": 4, "table": "nf4"},
    ],
    ids=str,
)
def test_it_beats_nearest_rounding(graph, request_) -> None:
    model = learned(graph, "gptq", **request_)
    assert quality(model) > quality(learned(graph, "rtn", **request_)) + 3
    assert isinstance(model.quantizer("depth.w"), Codes)
    assert torch.equal(model.parameter("stem.b"), graph.module.get_parameter(
        graph.attribute_of["stem.b"]
    ))  # fmt: skip


def test_groups_may_take_their_ranges_as_they_are_reached(graph) -> None:
    request = {"bits": 3, "granularity": "group", "group_size": 5}
    moving = learned(graph, "gptq", {"act_order": False, "static_groups": False}, **request)
    static = learned(graph, "gptq", {"act_order": False}, **request)
    scale, other = (m.frozen()["head.w"].scale for m in (moving, static))
    assert scale.shape == other.shape == (5, 3)
    assert not torch.equal(scale, other)
    assert quality(moving) > quality(learned(graph, "rtn", **request)) + 3


def test_order_and_moving_groups_do_not_go_together() -> None:
    with pytest.raises(RecipeError, match="static_groups was 'false'"):
        make("gptq", {"static_groups": False})
