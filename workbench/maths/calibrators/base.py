"""What a calibrator is given, and the search that several of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workbench.maths.grid import Granularity, Grid, affine_range, fake_quantize

Range = tuple[Tensor, Tensor]
#: error of each row under a range
Error = Callable[[Tensor, Tensor], Tensor]

CANDIDATES = 25  # coarse ones, then as many finer ones within a step around the best
FINER = 8
SMALLEST_RATIO = 0.2


@dataclass(frozen=True)
class Samples:
    """Weighted values, one row for each scale, so that weights and activations are treated alike.

    Attributes:
        values: (rows, n); of a weight's channels or groups, or one row with the bins of a histogram
            and the exact extremes.
        counts: (rows, n) how often each value was seen; None is once.
        averaged: moving average of the batches' extremes, (rows,) each; None for weights.
        classes: (positions, classes) whole rows of a tensor that is turned into probabilities;
            None for others.
    """

    values: Tensor
    counts: Tensor | None = None
    averaged: Range | None = None
    classes: Tensor | None = None

    def weights(self) -> Tensor:
        """The counts, with ones where all values were seen once."""
        return torch.ones_like(self.values) if self.counts is None else self.counts

    def extremes(self) -> Range:
        """Least and largest value of each row."""
        if self.counts is None:
            return self.values.amin(dim=1), self.values.amax(dim=1)
        unseen = self.counts == 0
        low = self.values.masked_fill(unseen, torch.inf).amin(dim=1)
        return low, self.values.masked_fill(unseen, -torch.inf).amax(dim=1)


def by_row(grid: Grid) -> Grid:
    """The grid with a scale for each row of a matrix."""
    return replace(grid, granularity=Granularity("channel", 0))


def covered(scale: Tensor, zero_point: Tensor, grid: Grid) -> Range:
    """The range whose scale and zero-point these are, the inverse of `affine_range`."""
    if not grid.uniform:
        levels = grid.levels()
        return scale * float(levels[0]), scale * float(levels[-1])
    if grid.symmetric and grid.signed:
        half = scale * ((grid.qmax - grid.qmin) / 2)
        return -half, half
    return (grid.qmin - zero_point) * scale, (grid.qmax - zero_point) * scale


@torch.no_grad()
def power_error(samples: Samples, grid: Grid, norm: float, low: Tensor, high: Tensor) -> Tensor:
    """Σ |x̂ - x|^norm of each row under the range."""
    grid, x = by_row(grid), samples.values
    gap = fake_quantize(x, *affine_range(low, high, grid), grid).sub_(x).abs_()
    gap = gap.square_() if norm == 2 else gap.pow_(norm)
    return (gap if samples.counts is None else gap.mul_(samples.counts)).sum(dim=1)


def search(error: Error, low: Tensor, high: Tensor, *, symmetric: bool) -> Range:
    """The range with the least `error` among shrunken ones; both ends apart unless symmetric.

    Args:
        error: of each row.
        low, high: (rows,) the widest range.
    """
    low, high = _shrink(error, low, high, (True, True))
    if not symmetric:
        low, high = _shrink(error, low, high, (False, True))
        low, high = _shrink(error, low, high, (True, False))
    return low, high


def _shrink(error: Error, low: Tensor, high: Tensor, ends: tuple[bool, bool]) -> Range:
    """The best range whose chosen ends are scaled down together; coarse steps, then fine ones."""

    def scaled(ratio: Tensor) -> Range:
        return (low * ratio if ends[0] else low), (high * ratio if ends[1] else high)

    best = torch.full_like(low, torch.inf)
    chosen = torch.ones_like(low)
    step = (1.0 - SMALLEST_RATIO) / (CANDIDATES - 1)
    coarse = torch.linspace(1.0, SMALLEST_RATIO, CANDIDATES)
    for fine in (False, True):
        centre = chosen.clone() if fine else torch.zeros_like(low)
        for offset in torch.linspace(-step, step, 2 * FINER + 1) if fine else coarse:
            ratio = (centre + offset).clamp(max=1.0)
            found = error(*scaled(ratio))
            better = found < best
            best, chosen = torch.where(better, found, best), torch.where(better, ratio, chosen)
    return scaled(chosen)
