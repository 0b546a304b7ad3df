"""A model described, with proof."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import workbench
from workbench.foundation.errors import RecipeError


@pytest.fixture
def stacked() -> workbench.Session:
    """Two convolutions with norms and a skip, without data."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)
    )
    module[1].running_var.uniform_(0.01, 4)
    return workbench.open(module, example_inputs=(torch.zeros(1, 3, 8, 8),))


def test_everything_is_there_and_plain(stacked: workbench.Session):
    found = stacked.inspect()
    record = json.loads(json.dumps(found.record()))
    assert {use["name"]: use["count"] for use in record["operators"]} == {
        "Conv": 2,
        "BatchNormalization": 1,
        "Relu": 1,
    }
    assert [layer["fused"] for layer in record["layer_list"]] == [["2"], []]
    assert [block["layers"] for block in record["blocks"]] == [["0"], ["3"]]
    assert all(step["max_difference"] is None for step in record["passes"])


def test_proof_without_data_uses_random_inputs(stacked: workbench.Session):
    found = stacked.inspect(prove=True, transforms=["equalize"])
    steps = {step["name"]: step for step in found.record()["passes"]}
    assert 0 < steps["batch norms folded"]["max_difference"] < 1e-5
    assert steps["pairs equalized"]["max_difference"] < 1e-5
    before, after = steps["pairs equalized"]["measures"]["weight range, tensor / channel"]
    assert after < before


def test_transformed_graphs_are_kept(stacked: workbench.Session):
    assert stacked.transformed() is stacked.graph
    assert stacked.transformed(["equalize"]) is stacked.transformed(("equalize",))
    x = torch.randn(2, 3, 8, 8)
    wanted = stacked.model(x)[0]
    got = stacked.transformed(["equalize"]).module(x)[0]
    assert (got - wanted).abs().max() < 1e-5 * wanted.abs().max()
    with pytest.raises(RecipeError, match="unknown transform"):
        stacked.transformed(["nothing"])


def test_a_run_quantizes_the_transformed_graph(tiny: workbench.Session):
    run = tiny.quantize(8, 8, "rtn", extent=_short(), transforms=("equalize",), out="equalized")
    assert 'transforms = ["equalize"]' in run.recipe.toml()
    assert type(run.recipe).from_toml(run.recipe.toml()) == run.recipe
    assert run.report()["scores"]["onnxruntime"]["agreement"] > 90


def _short():
    from workbench.session.execute import Extent

    return Extent(naive=False, layers=False, verify=False, latency=False)
