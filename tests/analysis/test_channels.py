"""Planted channels are found again."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import examples, network, quantized, task
from workbench.analysis.channels import carriers, channel_records, worst_weights
from workbench.analysis.expected import expected_db
from workbench.analysis.shapes import site_shape
from workbench.foundation.errors import RecipeError
from workbench.maths.expected import expected_noise
from workbench.maths.grid import Grid, affine_range, dequantize, fake_quantize, quantize
from workbench.methods.registry import make


@pytest.fixture(scope="module")
def model():
    graph = network()
    with torch.no_grad():
        weight = graph.module.get_parameter(graph.attribute_of["point.w"])
        weight[2] = 0.0
        weight[5] *= 40
    found = quantized(graph, bits=3)
    for _ in make("rtn").learn(found, task()):
        pass
    return found


def test_weights(model) -> None:
    found = channel_records(model, "point.w")
    assert [record["channel"] for record in found if record["dead"]] == [2]
    assert [record["channel"] for record in found if record["outlier"]] == [5]
    assert sum(record["error_share"] for record in found) == pytest.approx(1)
    assert carriers([record["error_share"] for record in found]) == [5]
    weight = model.weight("point.w").detach()[5].flatten().double()
    centred = weight - weight.mean()
    kurtosis = float(centred.pow(4).mean() / centred.square().mean().square())
    assert found[5]["kurtosis"] == pytest.approx(kurtosis, rel=1e-6)
    assert found[5]["asymmetry"] == pytest.approx(float(weight.sum() / weight.abs().sum()))
    assert found[5]["codes_used"] <= found[5]["codes"] == 8


def test_activations_over_batches(model) -> None:
    x = examples(seed=3)
    once = channel_records(model, "depth.relu", [(x,)])
    twice = channel_records(model, "depth.relu", [(x[:16],), (x[16:],)])
    assert len(once) == 8
    for a, b in zip(once, twice, strict=True):
        assert a == pytest.approx(b, rel=1e-5)
        assert a["asymmetry"] == pytest.approx(1) or a["dead"]  # behind a ReLU
        assert 0 <= a["clipped"] <= a["saturated"] <= 1


def test_single_weights(model) -> None:
    worst = worst_weights(model, "point.w", count=3)
    assert {place[0] for place in (record["index"] for record in worst)} == {5}
    assert abs(worst[0]["error"]) >= abs(worst[1]["error"])
    assert worst[0]["rounded"] == pytest.approx(worst[0]["value"] - worst[0]["error"])
    within = worst_weights(model, "point.w", channel=1, count=2)
    assert {record["index"][0] for record in within} == {1}
    with pytest.raises(RecipeError, match=r"channel was 8; 'point.w' has 0 to 7"):
        worst_weights(model, "point.w", channel=8)
    with pytest.raises(RecipeError, match=r"unknown site 'pint.w'; did you mean 'point.w'"):
        channel_records(model, "pint.w")


@pytest.mark.parametrize(
    "grid", [Grid(4), Grid(4, signed=False, symmetric=False), Grid(4, table="nf4")]
)
def test_theory_meets_rounding_of_smooth_values(grid: Grid) -> None:
    x = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    scale, zero = affine_range(torch.tensor(-2.5), torch.tensor(2.5), grid)
    levels = None if grid.uniform else grid.levels()
    rounded = dequantize(quantize(x, scale, zero, grid, levels), scale, zero, grid, levels)
    measured = float((x - rounded).double().square().sum())
    assert expected_noise(x, scale, zero, grid, levels) == pytest.approx(
        measured,
        rel=0.02 if grid.uniform else 0.07,  # in wide cells the values are not even
    )


def test_theory_knows_zeros_and_clipping() -> None:
    grid, scale, zero = Grid(3), torch.tensor(1.0), torch.tensor(0.0)
    assert expected_noise(torch.zeros(9), scale, zero, grid) == 0
    far = torch.tensor([10.0])
    clipped = float((far - fake_quantize(far, scale, zero, grid)).square())
    assert expected_noise(far, scale, zero, grid) == pytest.approx(clipped)


def test_sites_lie_near_theory(model) -> None:
    found = expected_db(model, [(examples(),)])
    assert set(found) == {s.name for s in model.sites.values() if s.kind != "bias"}
    own, theory = found["stem.relu"]
    assert theory is not None
    assert own == pytest.approx(theory, abs=1.0)


def test_shapes_hold_each_value_once(model) -> None:
    weight = site_shape(model, "point.w", channels=[2, 5])
    assert [ridge["channel"] for ridge in weight["ridges"]] == [2, 5]
    assert sum(weight["counts"]) == sum(weight["levels"]["counts"]) == 64
    assert weight["ridges"][1]["high"] > 10 * weight["ridges"][0]["high"]
    x = examples(seed=3)
    seen = site_shape(model, "depth.relu", [(x[:16],), (x[16:],)])
    assert len(seen["ridges"]) == 8
    assert sum(ridge["total"] for ridge in seen["ridges"]) == seen["total"]
    assert sum(seen["levels"]["counts"]) == seen["total"]
    ends = seen["levels"]["values"][0], seen["levels"]["values"][-1]
    assert ends[0] == pytest.approx((0 - seen["zero_point"]) * seen["scale"])
    assert ends[1] == pytest.approx((255 - seen["zero_point"]) * seen["scale"])
