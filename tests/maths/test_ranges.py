"""Calibrators against closed forms and against exhaustive search."""

from __future__ import annotations

import pytest
import torch

from workbench.maths.grid import Granularity, Grid, affine_range, fake_quantize
from workbench.maths.ranges import weight_range


def error(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor, grid: Grid, norm: float) -> float:
    return float(
        (fake_quantize(x, *affine_range(low, high, grid), grid) - x).abs().pow(norm).mean()
    )


def normal(count: int = 1_000_000) -> torch.Tensor:
    """Normal values without chance: the middles of as many equal shares."""
    shares = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return torch.special.ndtri(shares).float()


@pytest.mark.parametrize(("bits", "best"), [(2, 0.14943107), (3, 0.04063825), (4, 0.01186404)])
def test_mse_calibration_comes_near_the_best_grid_for_a_normal(bits: int, best: float) -> None:
    x = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    grid = Grid(bits)
    low, high = weight_range(x, grid, "mse")
    # p = 2.4 makes the clip a little wider than the one that is best for p = 2
    assert best * 0.995 < error(x, low, high, grid, 2.0) < best * 1.06


@pytest.mark.parametrize(
    ("bits", "full", "narrow"),
    [
        (2, 0.14943107, 0.19017404),
        (3, 0.04063825, 0.04685997),
        (4, 0.01186404, 0.01288939),
        (5, 0.00352596, 0.00369322),
    ],
)
def test_least_squares_reach_the_best_grids_for_a_normal(
    bits: int, full: float, narrow: float
) -> None:
    x = normal()
    for grid, best in ((Grid(bits), full), (Grid(bits, narrow=True), narrow)):
        low, high = weight_range(x, grid, "l2")
        assert error(x, low, high, grid, 2.0) == pytest.approx(best, rel=0.005)


@pytest.mark.parametrize(("bits", "step"), [(2, 0.995687), (3, 0.586019), (4, 0.335201)])
def test_balanced_levels_reach_the_best_mid_rise_step_for_a_normal(bits: int, step: float) -> None:
    x = normal(100_000)
    best = {2: 0.11884605, 3: 0.03743966, 4: 0.01154288}[bits]
    grid = Grid(bits, table="balanced")
    low, high = weight_range(x, grid, "l2")
    assert error(x, low, high, grid, 2.0) == pytest.approx(best, rel=0.005)
    scale, _ = affine_range(low, high, grid)
    assert float(scale) * 2 / (2**bits - 1) == pytest.approx(step, rel=0.03)


@pytest.mark.parametrize("name", ["minmax", "percentile", "mse", "l2", "entropy", "aciq"])
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
