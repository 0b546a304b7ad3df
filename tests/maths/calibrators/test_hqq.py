"""HQQ: the shrinkage, and ranges that a few outliers do not spoil."""

from __future__ import annotations

import pytest
import torch

from workbench.maths.calibrators.hqq import POWER, shrink
from workbench.maths.grid import Granularity, Grid, affine_range, fake_quantize
from workbench.maths.ranges import weight_range


def test_the_published_shrinkage() -> None:
    found = shrink(torch.tensor([0.1, 0.2, 0.5, 1.0, -0.5]), 10.0)
    assert found.tolist() == pytest.approx([0, 0.03793434, 0.37688557, 0.9, -0.37688557], abs=1e-6)


def outlying() -> torch.Tensor:
    x = torch.randn(32, 256, generator=torch.Generator().manual_seed(0))
    x[:, ::64] *= 6
    return x


def lp(x: torch.Tensor, name: str, grid: Grid) -> float:
    scale, zero = affine_range(*weight_range(x, grid, name), grid)
    return float((fake_quantize(x, scale, zero, grid) - x).abs().pow(POWER).mean())


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("granularity", [Granularity("channel", 0), Granularity("group", 1, 64)])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_bulk_is_closer_than_under_the_extremes(
    bits: int, granularity: Granularity, symmetric: bool
) -> None:
    grid = Grid(bits, symmetric=symmetric, granularity=granularity)
    x = outlying()
    assert lp(x, "hqq", grid) < 0.97 * lp(x, "minmax", grid)


def test_a_table_of_levels_is_fitted_too() -> None:
    grid = Grid(4, granularity=Granularity("channel", 0), table="nf4")
    x = outlying()
    assert lp(x, "hqq", grid) < lp(x, "minmax", grid)


def test_the_unit_of_the_weight_does_not_matter() -> None:
    grid = Grid(3, symmetric=False, granularity=Granularity("channel", 0))
    x = outlying()
    first, second = weight_range(x, grid, "hqq"), weight_range(x / 1024, grid, "hqq")
    assert torch.allclose(first[1] / 1024, second[1], rtol=1e-5)
