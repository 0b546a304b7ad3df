"""Calibrators against closed forms and against exhaustive search."""

from __future__ import annotations

import pytest
import torch

from workbench.foundation.errors import RecipeError
from workbench.maths.grid import Granularity, Grid, affine_range, fake_quantize
from workbench.maths.histogram import Histogram
from workbench.maths.ranges import CALIBRATORS, calibrator, histogram_range, weight_range


def error(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor, grid: Grid, norm: float) -> float:
    return float(
        (fake_quantize(x, *affine_range(low, high, grid), grid) - x).abs().pow(norm).mean()
    )


@pytest.mark.parametrize(("bits", "best"), [(2, 0.14943107), (3, 0.04063825), (4, 0.01186404)])
def test_mse_calibration_comes_near_the_best_grid_for_a_normal(bits: int, best: float) -> None:
    x = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    grid = Grid(bits)
    low, high = weight_range(x, grid, "mse")
    # p = 2.4 makes the clip a little wider than the one that is best for p = 2
    assert best * 0.995 < error(x, low, high, grid, 2.0) < best * 1.06


@pytest.mark.parametrize("name", sorted(CALIBRATORS))
@pytest.mark.parametrize("symmetric", [True, False])
def test_ranges_lie_within_the_data(name: str, symmetric: bool) -> None:
    x = torch.randn(4, 500, generator=torch.Generator().manual_seed(1)) + 0.3
    grid = Grid(4, symmetric=symmetric, granularity=Granularity("channel", 0))
    low, high = weight_range(x, grid, name)
    assert low.shape == high.shape == (4,)
    assert bool((low >= x.amin(1) - 1e-6).all())
    assert bool((high <= x.amax(1) + 1e-6).all())
    assert bool((low < high).all())


def test_percentile_drops_one_outlier_of_a_million() -> None:
    x = torch.rand(1_000_000, generator=torch.Generator().manual_seed(0))
    x[0] = 1000.0
    _, high = weight_range(x, Grid(8, False, False), "percentile")
    assert float(high) < 1.01


def test_entropy_and_mse_clip_an_outlier_that_minmax_keeps() -> None:
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    x[0] = 60.0
    grid = Grid(4)
    assert float(weight_range(x, grid, "minmax")[1]) == 60.0
    for name in ("mse", "entropy"):
        assert float(weight_range(x, grid, name)[1]) < 20


def test_histogram_gives_nearly_the_same_range_as_the_values() -> None:
    x = torch.randn(50_000, generator=torch.Generator().manual_seed(2)).relu()
    histogram = Histogram()
    for part in x.split(7_000):
        histogram.add(part)
    grid = Grid(8, signed=False, symmetric=False)
    streamed = histogram_range(histogram, grid, "mse")
    direct = weight_range(x, grid, "mse")
    assert float(streamed[1]) == pytest.approx(float(direct[1]), rel=0.03)


def test_constant_and_zero_tensors_have_a_range() -> None:
    for x in (torch.zeros(10), torch.full((10,), 3.0)):
        low, high = weight_range(x, Grid(4), "mse")
        assert torch.isfinite(fake_quantize(x, *affine_range(low, high, Grid(4)), Grid(4))).all()


def test_unknown_calibrator_lists_the_known() -> None:
    with pytest.raises(RecipeError, match=r"unknown calibrator 'mx'.*minmax"):
        calibrator("mx")


@pytest.mark.parametrize("name", sorted(CALIBRATORS))
@pytest.mark.parametrize("count", [9, 64, 600])
def test_no_calibrator_ruins_a_channel_of_few_values(name: str, count: int) -> None:
    x = torch.randn(8, count, generator=torch.Generator().manual_seed(4))
    grid = Grid(4, granularity=Granularity("channel", 0))
    widest = error(x, *weight_range(x, grid, "minmax"), grid, 2.0)
    assert error(x, *weight_range(x, grid, name), grid, 2.0) <= 2 * widest
