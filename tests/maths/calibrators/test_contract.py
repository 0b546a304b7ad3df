"""Every calibrator: contract over the registry."""

from __future__ import annotations

import pytest
import torch

from workbench.foundation.errors import RecipeError
from workbench.foundation.options import controls
from workbench.foundation.taxonomy import STRATEGIES, cells
from workbench.maths.calibrators.base import Samples, covered
from workbench.maths.calibrators.registry import CALIBRATORS, serving
from workbench.maths.grid import Granularity, Grid, affine_range, fake_quantize
from workbench.maths.histogram import Histogram
from workbench.maths.ranges import calibrator, histogram_range, weight_range
from workbench.methods.rtn import RtnOptions

GRIDS = [
    Grid(4),
    Grid(4, narrow=True),
    Grid(4, symmetric=False),
    Grid(4, signed=False),
    Grid(8, signed=False, symmetric=False),
    Grid(4, table="nf4"),
]


def error(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor, grid: Grid) -> float:
    return float((fake_quantize(x, *affine_range(low, high, grid), grid) - x).square().mean())


@pytest.mark.parametrize("entry", list(CALIBRATORS), ids=lambda entry: entry.name)
class TestContract:
    def test_says_what_it_is(self, entry) -> None:
        assert entry.title
        assert entry.description
        assert entry.citation
        assert set(entry.facts) >= {"serves", "data", "cost", "use"}
        assert set(entry.facts["serves"]) <= {"weights", "activations"}
        assert cells(entry.facts["cells"])
        assert entry.facts["strategy"] in STRATEGIES

    @pytest.mark.parametrize("grid", GRIDS, ids=Grid.describe)
    def test_gives_each_row_a_range_of_its_own(self, entry, grid: Grid) -> None:
        x = torch.randn(2, 2500, generator=torch.Generator().manual_seed(1)) + 0.3
        x = x * torch.tensor([[1.0], [4.0]])
        x = x if grid.signed else x.abs()
        low, high = entry.make(Samples(x), grid)
        assert low.shape == high.shape == (2,)
        assert bool((low <= high).all())
        alone = entry.make(Samples(x[1:]), grid)
        assert float(alone[0]) == pytest.approx(float(low[1]), rel=1e-5, abs=1e-6)
        assert float(alone[1]) == pytest.approx(float(high[1]), rel=1e-5, abs=1e-6)

    def test_the_unit_does_not_matter(self, entry) -> None:
        x = torch.randn(1, 2500, generator=torch.Generator().manual_seed(1))
        step, _ = affine_range(*entry.make(Samples(x), GRIDS[0]), GRIDS[0])
        wider, _ = affine_range(*entry.make(Samples(4 * x), GRIDS[0]), GRIDS[0])
        assert torch.allclose(wider, 4 * step, rtol=1e-5)

    @pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
    def test_a_constant_tensor_has_a_range(self, entry, value: float) -> None:
        for grid in GRIDS:
            low, high = entry.make(Samples(torch.full((1, 10), value)), grid)
            scale, zero = affine_range(low, high, grid)
            assert bool((scale > 0).all())
            assert torch.isfinite(scale).all()
            assert torch.isfinite(zero).all()


@pytest.mark.parametrize("name", serving("weights"))
@pytest.mark.parametrize("count", [9, 64, 600])
def test_no_calibrator_ruins_a_channel_of_few_values(name: str, count: int) -> None:
    x = torch.randn(8, count, generator=torch.Generator().manual_seed(4))
    grid = Grid(4, granularity=Granularity("channel", 0))
    widest = error(x, *weight_range(x, grid, "minmax"), grid)
    assert error(x, *weight_range(x, grid, name), grid) <= 2 * widest


@pytest.mark.parametrize("name", serving("weights"))
@pytest.mark.parametrize("symmetric", [True, False])
def test_group_wise_ranges_have_the_scale_s_shape(name: str, symmetric: bool) -> None:
    x = torch.randn(6, 50, generator=torch.Generator().manual_seed(4))
    grid = Grid(4, symmetric=symmetric, granularity=Granularity("group", 1, 32))
    low, high = weight_range(x, grid, name)
    assert low.shape == high.shape == (6, 2)
    assert error(x, low, high, grid) < 0.05


@pytest.mark.parametrize("name", serving("activations"))
def test_a_stream_gives_nearly_the_range_of_its_values(name: str) -> None:
    x = torch.randn(60_000, generator=torch.Generator().manual_seed(2)).relu()
    histogram = Histogram()
    for part in x.split(6_000):
        histogram.add(part)
    grid = Grid(8, signed=False, symmetric=False)
    low, high = histogram_range(histogram, grid, name)
    assert low.shape == high.shape == ()
    direct = CALIBRATORS[name].make(Samples(x[None]), grid)
    if name == "moving_average":
        tops = torch.stack([part.max() for part in x.split(6_000)])
        assert float(tops.min()) <= float(high) <= float(tops.max())
    else:  # divergence is flat along the tail, so that the bins' places decide there
        near = 0.1 if name == "entropy" else 0.03
        assert float(high) == pytest.approx(float(direct[1]), rel=near)


@pytest.mark.parametrize("grid", GRIDS, ids=Grid.describe)
def test_the_covered_range_gives_the_scale_and_zero_point_back(grid: Grid) -> None:
    scale = torch.tensor([0.3, 0.02])
    zero = torch.full((2,), float(grid.qmin if grid.symmetric and not grid.signed else 0))
    zero = zero if grid.symmetric else torch.tensor([3.0, 7.0])
    found = affine_range(*covered(scale, zero, grid), grid)
    assert torch.allclose(found[0], scale, rtol=1e-6)
    assert torch.equal(found[1], zero)


def test_names_are_checked_and_say_whom_they_serve() -> None:
    with pytest.raises(RecipeError, match=r"unknown calibrator 'minmx'; did you mean 'minmax'"):
        calibrator("minmx", "weights")
    with pytest.raises(RecipeError, match=r"'hqq' does not serve activations; .*mse"):
        calibrator("hqq", "activations")
    with pytest.raises(RecipeError, match=r"'calibrator' was 'hqq': unknown calibrator of activa"):
        RtnOptions.parse({"calibrator": "hqq"}, "method 'rtn'")


def test_forms_offer_what_serves() -> None:
    chosen = {control.name: control for control in controls(RtnOptions)}
    assert chosen["calibrator"].kind == "choice"
    assert list(chosen["calibrator"].choices) == serving("activations")
    assert "hqq" in chosen["weight_calibrator"].choices
    assert "moving_average" not in chosen["weight_calibrator"].choices
