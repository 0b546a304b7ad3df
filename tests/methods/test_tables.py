"""Methods learn on grids with a level table too, fixed or learned."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import examples, network, task
from workbench.deploy.export import export
from workbench.deploy.runtime import open_session, run
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import WeightGrid, target
from workbench.maths.metrics import sqnr_db
from workbench.methods.registry import make

OPTIONS = {"rtn": {}, "gram": {}, "adaround": {"iterations": 100}, "lsq": {"epochs": 2}}


@pytest.fixture(scope="module")
def graph():
    return network()


def learned(graph, name: str, table: str, bits: int) -> QuantizedGraph:
    request = WeightGrid(bits=bits, table=table)
    sites = target("weight-only").sites(graph, request, None, edges=None)
    assert {site.grid.table for site in sites} == {table}
    model = QuantizedGraph(graph, sites)
    for _ in make(name, OPTIONS[name]).learn(model, task()):
        pass
    return model.eval()


def quality(model: QuantizedGraph) -> float:
    x = examples(seed=9, count=100)
    with torch.no_grad():
        return sqnr_db(model.graph.module(x)[0], model(x)[0])


@pytest.mark.parametrize(("table", "bits"), [("nf4", 4), ("kmeans", 3)])
@pytest.mark.parametrize("name", OPTIONS)
def test_methods_learn_tables_that_export(graph, name, table, bits, tmp_path) -> None:
    model = learned(graph, name, table, bits)
    assert quality(model) > 10
    x = examples(seed=4, count=8)
    got = run(open_session(export(model, tmp_path / "m.onnx").path, optimise=False), (x,))
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(got["logits"]), model(x)[0])


@pytest.mark.parametrize(("table", "bits"), [("nf3", 3), ("apot", 3), ("kmeans", 2)])
def test_descent_over_levels_beats_nearest_levels(graph, table: str, bits: int) -> None:
    naive, better = (learned(graph, name, table, bits) for name in ("rtn", "gram"))
    assert quality(better) > quality(naive) + 1
