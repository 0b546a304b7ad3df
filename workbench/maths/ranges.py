"""Calibrators: the range [low, high] that a grid should cover.

Each takes weighted samples, one row per scale: `values` (rows, n) and `counts` (rows, n) or None,
so the same code serves weights (rows are channels or groups) and activations (one row, the bins of
a streaming histogram).

    minmax      the extremes                              (Jacob et al. 2018, arXiv:1712.05877)
    percentile  clips a share of 1e-5 in all              (as in common toolkits)
    mse         least mean |x̂ - x|^p, p = 2.4             (LAPQ, arXiv:1911.07190; QDrop, BRECQ)
    entropy     least KL of the histogram before/after    (TensorRT calibration, 2017)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from workbench.foundation.errors import RecipeError
from workbench.maths.grid import Granularity, Grid, affine_range, fake_quantize
from workbench.maths.histogram import Histogram

Range = tuple[Tensor, Tensor]
Calibrator = Callable[[Tensor, Tensor | None, Grid], Range]

NORM = 2.4
CANDIDATES = 25  # coarse ones, then as many within a step around the best
FINER = 8
SMALLEST_RATIO = 0.2
CLIPPED_SHARE = 1e-5
ENTROPY_BINS = 2048


def minmax(values: Tensor, counts: Tensor | None, grid: Grid) -> Range:  # noqa: ARG001
    """The extremes of each row."""
    if counts is None:
        return values.amin(dim=1), values.amax(dim=1)
    seen = counts > 0
    low = values.masked_fill(~seen, torch.inf).amin(dim=1)
    high = values.masked_fill(~seen, -torch.inf).amax(dim=1)
    return low, high


def percentile(values: Tensor, counts: Tensor | None, grid: Grid) -> Range:  # noqa: ARG001
    """Leaves a share of `CLIPPED_SHARE` of the values outside, half on each side."""
    order = values.argsort(dim=1)
    ranked = values.gather(1, order)
    weights = torch.ones_like(values) if counts is None else counts.gather(1, order)
    share = weights.cumsum(1) / weights.sum(1, keepdim=True)
    low = (share < CLIPPED_SHARE / 2).sum(1, keepdim=True)
    high = (share < 1 - CLIPPED_SHARE / 2).sum(1, keepdim=True).clamp(max=values.shape[1] - 1)
    return ranked.gather(1, low)[:, 0], ranked.gather(1, high)[:, 0]


def mse(values: Tensor, counts: Tensor | None, grid: Grid) -> Range:
    """Least mean |x̂ - x|^2.4 among shrunken ranges; both ends apart on asymmetric grids."""
    low, high = (end.clone() for end in minmax(values, counts, grid))
    low, high = _shrink(values, counts, grid, low, high, (True, True))
    if not grid.symmetric:
        low, high = _shrink(values, counts, grid, low, high, (False, True))
        low, high = _shrink(values, counts, grid, low, high, (True, False))
    return low, high


def entropy(values: Tensor, counts: Tensor | None, grid: Grid) -> Range:
    """Least Kullback-Leibler divergence between the histogram and its quantized version."""
    low, high = minmax(values, counts, grid)
    weights = torch.ones_like(values) if counts is None else counts
    limits = torch.stack(
        [_entropy_limit(v.abs(), w, grid) for v, w in zip(values, weights, strict=True)]
    )
    return torch.maximum(low, -limits), torch.minimum(high, limits)


CALIBRATORS: dict[str, Calibrator] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
    "entropy": entropy,
}


def calibrator(name: str) -> Calibrator:
    """The calibrator called `name`, or a `RecipeError` that lists those known."""
    if name not in CALIBRATORS:
        raise RecipeError(f"unknown calibrator '{name}'; known are: {', '.join(CALIBRATORS)}")
    return CALIBRATORS[name]


def weight_range(weight: Tensor, grid: Grid, name: str = "mse") -> Range:
    """Range of each scale of a weight; two tensors of the scale's shape."""
    rows = grid.granularity.rows(weight.detach())
    low, high = calibrator(name)(rows, None, grid)
    unrows = grid.granularity.unrows
    return unrows(low, weight.shape), unrows(high, weight.shape)


def histogram_range(histogram: Histogram, grid: Grid, name: str = "mse") -> Range:
    """Range of one activation tensor from its histogram; two scalars.

    Bin centres stand for the values; the extremes are the exact ones.
    """
    centres = histogram.centres.clamp(histogram.low, histogram.high).float()
    values = torch.cat([centres, torch.tensor([histogram.low, histogram.high])])[None]
    counts = torch.cat([histogram.counts.float(), torch.ones(2)])[None]
    low, high = calibrator(name)(values, counts, grid)
    return low[0], high[0]


def _shrink(
    values: Tensor,
    counts: Tensor | None,
    grid: Grid,
    low: Tensor,
    high: Tensor,
    ends: tuple[bool, bool],
) -> Range:
    """The best range whose chosen ends are scaled down together; coarse steps, then fine ones."""
    by_row = replace(grid, granularity=Granularity("channel", 0))

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
            error = _error(values, counts, by_row, *scaled(ratio))
            better = error < best
            best, chosen = torch.where(better, error, best), torch.where(better, ratio, chosen)
    return scaled(chosen)


@torch.no_grad()
def _error(values: Tensor, counts: Tensor | None, grid: Grid, low: Tensor, high: Tensor) -> Tensor:
    """Sum of |x̂ - x|^2.4 of each row."""
    gap = fake_quantize(values, *affine_range(low, high, grid), grid).sub_(values).abs_()
    gap = gap.pow_(NORM)
    return (gap if counts is None else gap.mul_(counts)).sum(dim=1)


def _entropy_limit(magnitudes: Tensor, counts: Tensor, grid: Grid) -> Tensor:
    """The clip on |x| with the least divergence."""
    top = float(magnitudes.max())
    if top == 0.0 or float(counts.sum()) < ENTROPY_BINS:  # too few values to fill a histogram
        return magnitudes.new_tensor(top)
    index = (magnitudes / top * (ENTROPY_BINS - 1)).long()
    histogram = torch.zeros(ENTROPY_BINS).scatter_add_(0, index, counts.float())
    levels = max(2, (grid.qmax - grid.qmin + 1) // (2 if grid.signed else 1))
    sizes = range(levels, ENTROPY_BINS + 1, max(1, ENTROPY_BINS // 128))
    scores = torch.tensor([_divergence(histogram, size, levels) for size in sizes])
    best = sizes[int(scores.argmin())]
    return magnitudes.new_tensor(best * top / ENTROPY_BINS)


def _divergence(histogram: Tensor, size: int, levels: int) -> float:
    """KL(P ‖ Q) with the values beyond `size` bins clipped and the rest merged to `levels`."""
    reference = histogram[:size].clone()
    reference[-1] += histogram[size:].sum()
    group = (torch.arange(size) * levels) // size
    kept = (histogram[:size] > 0).float()
    mass = torch.zeros(levels).scatter_add_(0, group, histogram[:size])
    filled = torch.zeros(levels).scatter_add_(0, group, kept)
    merged = (mass / filled.clamp(min=1))[group] * kept
    p = reference / reference.sum()
    q = (merged / merged.sum().clamp(min=1e-30)).clamp(min=1e-9)
    return float((p * (p.clamp(min=1e-30) / q).log()).sum())
