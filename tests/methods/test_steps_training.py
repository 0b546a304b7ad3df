"""Staircase activations and weights with levels of their own, trained with a whole network."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import examples, network, task
from workbench.deploy.export import export
from workbench.deploy.restore import restore
from workbench.deploy.verify import verify
from workbench.graph.load import load
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import ActivationGrid, WeightGrid, target
from workbench.methods.registry import make
from workbench.quantizers.registry import QUANTIZERS
from workbench.quantizers.steps import FORM, Staircase

ROWS = [
    ("n2uq", "n2uq_weight", 3),
    ("llt", "llt_weight", 3),
    ("apot", "apot_weight", 4),
    ("react", "lsq", 1),
]


@pytest.mark.parametrize(("activations", "weights", "bits"), ROWS)
def test_what_they_learn_moves_and_reaches_the_file(tmp_path, activations, weights, bits) -> None:
    grids = WeightGrid(bits=max(bits, 3)), ActivationGrid(bits=bits)
    model = QuantizedGraph(network(), target("ort-cpu").sites(network(), *grids, edges=None))
    chosen = {"weights": weights, "activations": activations}
    options = {"epochs": 3, "batch_size": 16, "scale_learning_rate": 0.02, "held_out": 0.0}
    events = list(make("train", {**options, **chosen}).learn(model, task()))
    losses = [e.values["loss"] for e in events if e.kind == "layer"]
    assert losses[-1] < losses[0]
    placed = [s.name for s in model.of_kind("activation") if model.quantizer(s.name).form == FORM]
    assert placed
    moved = 0
    for name in placed:
        learner = model.quantizer(name)
        assert isinstance(learner, Staircase)
        fresh = QUANTIZERS[activations].make(model.asked[name], learner.shape)
        fresh.set_affine(*learner.affine())
        pairs = zip(fresh.parameters(), learner.parameters(), strict=True)
        moved += sum(not torch.equal(before, after) for before, after in pairs)
        assert bool((learner.thresholds_in_use().diff(dim=0) >= 0).all())
    assert moved
    x = examples(seed=7, count=8)
    path = export(model.eval(), tmp_path / "m.onnx").path
    assert verify(path, model, [(x,)]).modes[0].verdict in ("equal", "within one step")
    other = QuantizedGraph(network(), target("ort-cpu").sites(network(), *grids, edges=None))
    other.load_state(model.state())
    with torch.no_grad():
        assert torch.equal(model(x)[0], other.eval()(x)[0])
        assert torch.equal(model(x)[0], restore(load(path)).quantized()(x)[0])
