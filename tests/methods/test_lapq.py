"""LAPQ: clips that are chosen for the output beat those that are chosen for each tensor."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import examples, network, quantized, task
from workbench.graph.quantized import QuantizedGraph
from workbench.maths.metrics import kl_divergence
from workbench.methods.lapq import POWERS, _next_norm
from workbench.methods.registry import make
from workbench.quantizers.codes import Codes


@pytest.fixture(scope="module")
def graph():
    return network()


def learn(model: QuantizedGraph, name: str, options: dict | None = None, **fields):
    return list(make(name, options or {}).learn(model, task(**fields)))


def divergence(model: QuantizedGraph) -> float:
    """KL of the logits on examples that were not calibrated on."""
    x = examples(seed=9, count=200)
    with torch.no_grad():
        return kl_divergence(model.graph.module(x)[0], model(x)[0])


def test_it_loses_far_less_than_the_best_single_tensor_error_at_4_bits(graph) -> None:
    single = []
    for name in ("mse", "l2"):
        model = quantized(graph, 4, 4)
        learn(model, "rtn", {"calibrator": name, "weight_calibrator": name})
        single.append(divergence(model))
    model = quantized(graph, 4, 4)
    events = learn(model, "lapq")
    assert divergence(model) < 0.7 * min(single)
    losses = [event.values["loss"] for event in events if "evaluations" in event.values]
    assert losses == sorted(losses, reverse=True)


def test_no_round_keeps_the_best_common_norm(graph) -> None:
    model = quantized(graph, 4, 4)
    events = learn(model, "lapq", {"rounds": 0})
    tried = {event.values["norm"]: event.values["loss"] for event in events if event.values}
    assert len(tried) >= len(POWERS)
    other = quantized(graph, 4, 4)
    learn(other, "rtn", {"calibrator": "l2", "weight_calibrator": "l2"})
    same = torch.equal(model.quantizer("stem.w").scale, other.quantizer("stem.w").scale)
    assert same == (min(tried, key=tried.__getitem__) == 2.0)


def test_the_next_norm_is_where_a_parabola_is_least() -> None:
    losses = {p: 1.0 + (p - 2.8) ** 2 for p in POWERS}
    assert _next_norm(losses) == pytest.approx(2.8)
    assert _next_norm({p: -p for p in POWERS[:3]}) == POWERS[3]
    assert _next_norm({p: (p - 9.0) ** 2 for p in POWERS}) == POWERS[-1]
    assert _next_norm({p: -((p - 3.1) ** 2) for p in POWERS}) == 2.0


def test_codes_that_were_chosen_before_are_kept(graph) -> None:
    model = quantized(graph, 3, 8)
    learn(model, "gram")
    before = {n: model.quantizer(n).codes(model.weight(n)) for n in ("stem.w", "mix.w")}
    learned = divergence(model)
    learn(model, "lapq", {"rounds": 1})
    for name, codes in before.items():
        assert isinstance(model.quantizer(name), Codes)
        assert torch.equal(model.quantizer(name).codes(model.weight(name)), codes)
    assert divergence(model) < 1.5 * learned
