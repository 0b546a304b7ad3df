"""The walk: two streams, equal to running the whole network, in bounded memory."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import examples, network, quantized, task
from workbench.graph import capture
from workbench.methods.registry import make
from workbench.methods.shelf import Shelf
from workbench.methods.walk import ActivationStop, LayerStop, Walk


@pytest.fixture(scope="module")
def graph():
    return network()


@pytest.mark.parametrize("budget", [1 << 30, 0], ids=["memory", "disk"])
def test_streams_are_what_the_networks_compute(graph, budget: int) -> None:
    model = quantized(graph)
    for _ in make("rtn").learn(model, task()):
        pass
    x = examples()
    floats = capture(graph.module, (x,))
    with torch.no_grad():
        simulated = capture(model.module, (x,))
    seen = []
    for stop in Walk(model, task().batches(), budget_bytes=budget):
        if isinstance(stop, ActivationStop):
            values = torch.cat(list(stop.values()))
            assert torch.allclose(values, simulated[stop.site.tensor], atol=1e-5)
            continue
        pairs = list(stop.arguments())
        seen.append(stop.layer.name)
        left = torch.cat([pair[0][0] for pair in pairs])
        assert torch.allclose(left, floats[stop.layer.input], atol=1e-5)
    assert seen == ["stem", "depth", "point", "mix", "head"]


def test_what_is_set_at_a_stop_is_what_later_layers_see(graph) -> None:
    model = quantized(graph, activations=None)
    arrived = {}
    for stop in Walk(model, task().batches()):
        assert isinstance(stop, LayerStop)
        arrived[stop.layer.name] = torch.cat([quant[0] for _, quant in stop.arguments()])
        if stop.layer.name == "stem":
            model.quantizer("stem.w").set_range(torch.full((8,), -1.0), torch.full((8,), 1.0))
    for name in ("depth", "point"):
        model.quantizer(f"{name}.w").enabled = False
    x = examples()
    with torch.no_grad():
        expected = capture(model.module, (x,), ["stem.relu"])["stem.relu"]
    assert torch.allclose(arrived["depth"], expected, atol=1e-5)


def test_a_float_prefix_hands_over_one_tensor_for_both(graph) -> None:
    for stop in Walk(quantized(graph), task().batches(), prefix="float"):
        if isinstance(stop, LayerStop):
            floats, quant = next(stop.arguments())
            assert floats[0] is quant[0]


def test_the_shelf_spills_and_cleans_up(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shelf = Shelf(budget_bytes=100)
    small, large = torch.arange(10.0), torch.arange(1000.0)
    first, second = shelf.put(small), shelf.put(large)
    assert first is small
    assert torch.equal(shelf.get(second), large)
    assert list(tmp_path.rglob("*.pt"))
    shelf.drop(second)
    assert not list(tmp_path.rglob("*.pt"))
    shelf.close()
    assert not list(tmp_path.iterdir())
