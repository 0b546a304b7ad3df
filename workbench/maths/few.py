"""Grids of very few levels: three, or 2^b that lie in pairs around zero.

    ternary   q = clip(round(x / s), -1, 1)
    odd       q = 2 clip(round((x - s) / 2s), -2^(b-1), 2^(b-1) - 1) + 1        = ±1, ±3, ...

The odd codes of b bits are the ordinary b-bit grid with a doubled step, moved by half of it: levels
on both sides of zero and none on it. Codes are whole numbers in either case, one bit wider than
what they tell, so both are stored and run as any uniform grid. Zero goes to +1.

Scales of such grids come from the weights' magnitudes; short last groups count their own values.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from workbench.foundation.errors import RecipeError
from workbench.maths.estimators.base import Estimator
from workbench.maths.estimators.ste import Ste
from workbench.maths.grid import Granularity, Grid, quantize

TERNARY, BINARY = "ternary", "binary"


#: a gradient of one everywhere, which many papers on few levels have
IDENTITY = Ste()


class Unclipped(Ste):
    """Rounds as another estimator does, and passes the gradient of what is clipped as well."""

    def __init__(self, inner: Estimator) -> None:
        super().__init__()
        self.inner = inner

    def round(self, x: Tensor, steps: int) -> Tensor:
        return self.inner.round(x, steps)


def check_served(name: str, grid: Grid, bits: tuple[int, ...]) -> None:
    """Refuse a grid that quantizer `name`, which brings levels of its own, cannot start from.

    Raises:
        RecipeError: another width, or levels that someone else has brought.
    """
    if grid.label or not grid.uniform:
        raise RecipeError(
            f"quantizer '{name}' brings levels of its own and was put on those of"
            f" '{grid.label or grid.table}'; ask for table 'uniform'"
        )
    if grid.bits not in bits:
        known = " or ".join(f"'{width}'" for width in bits)
        raise RecipeError(
            f"quantizer '{name}' has no levels of '{grid.bits}' bits; ask for {known}, or put 'lsq'"
            " there"
        )


def ternary_grid(granularity: Granularity) -> Grid:
    """Codes -1, 0 and 1."""
    return Grid(2, granularity=granularity, narrow=True, label=TERNARY)


def odd_grid(bits: int, granularity: Granularity) -> Grid:
    """The odd codes from -(2^bits - 1) to 2^bits - 1; of one bit, -1 and 1."""
    label = BINARY if bits == 1 else f"odd{bits}"
    return Grid(bits + 1, granularity=granularity, narrow=True, label=label)


def is_odd(grid: Grid) -> bool:
    """True for what `odd_grid` makes."""
    return grid.bits > 1 and grid == odd_grid(grid.bits - 1, grid.granularity)


def odd_codes(x: Tensor, scale: Tensor, grid: Grid, estimator: Estimator | None = None) -> Tensor:
    """The nearest odd code of each value, on a grid that `odd_grid` made; zero goes to +1."""
    pairs = replace(grid, bits=grid.bits - 1, narrow=False, label="")
    moved = x - grid.granularity.expand(scale, x)
    codes = 2 * quantize(moved, 2 * scale, torch.zeros_like(scale), pairs, estimator=estimator) + 1
    lost = (x < 0) & (codes > 0)  # so close to zero that x - s was s
    return codes - 2 * lost.to(codes.dtype)


def mean_magnitude(x: Tensor, granularity: Granularity, above: Tensor | None = None) -> Tensor:
    """Mean |x| of the values that share a scale (of the scale's shape); 0 where there are none.

    Args:
        above: count only magnitudes beyond this, of the scale's shape.
    """
    sizes, counted = x.abs(), torch.ones_like(x)
    if above is not None:
        counted = (sizes > granularity.expand(above, x)).to(x.dtype)
    rows, held = granularity.rows(sizes * counted), granularity.rows(counted)
    return granularity.unrows(rows.sum(1) / held.sum(1).clamp(min=1), x.shape)


def largest_magnitude(x: Tensor, granularity: Granularity) -> Tensor:
    """Largest |x| of the values that share a scale."""
    return granularity.unrows(granularity.rows(x.abs()).amax(1), x.shape)
