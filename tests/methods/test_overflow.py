"""A channel whose weights are all but zero must not keep a model from being exported."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import examples, network, quantized, task
from workbench.deploy.export import export
from workbench.deploy.verify import verify
from workbench.graph.build import Graph
from workbench.graph.quantized import QuantizedGraph
from workbench.methods.registry import make

OPTIONS = {"rtn": {}, "gram": {}, "adaround": {"iterations": 20}, "lsq": {"epochs": 1}}
DEAD = 2


@pytest.fixture(scope="module")
def graph() -> Graph:
    """`network` with one dead channel in its first and in its depthwise convolution."""
    found = network()
    with torch.no_grad():
        for name, size in (("stem.w", 1e-12), ("depth.w", 0.0)):
            found.module.get_parameter(found.attribute_of[name])[DEAD] *= size
        found.module.get_parameter(found.attribute_of["stem.b"])[DEAD] = 0.7
    return found


@pytest.mark.parametrize("name", OPTIONS)
def test_a_dead_channel_keeps_its_bias_and_exports(graph: Graph, name: str, tmp_path) -> None:
    model = quantized(graph, bits=7)
    for _ in make(name, OPTIONS[name]).learn(model, task()):
        pass
    frozen = model.frozen()
    assert int(frozen["stem.b"].codes.abs().max()) <= 2**30
    held = float(frozen["stem.b"].values()[DEAD])
    assert held == pytest.approx(float(model.parameter("stem.b").detach()[DEAD]), rel=1e-5)
    assert held == pytest.approx(0.7, rel=0.2)
    path = export(model, tmp_path / "m.onnx").path
    assert verify(path, model, [(examples(seed=4, count=8),)]).ok


def test_only_scales_that_are_too_fine_are_raised(graph: Graph) -> None:
    model: QuantizedGraph = quantized(graph, bits=7)
    for _ in make("rtn").learn(model, task()):
        pass
    scale = model.quantizer("stem.w").affine()[0]
    others = torch.arange(len(scale)) != DEAD
    plain = model.quantizer("stem.w").scale.clone()
    model.quantizer("stem.w").fit(model.weight("stem.w").detach(), "mse")
    fitted = model.quantizer("stem.w").scale
    assert torch.equal(plain[others], fitted[others])
    assert float(plain[DEAD]) > float(fitted[DEAD])
