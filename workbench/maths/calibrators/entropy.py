"""Entropy (Migacz 2017, TensorRT's 8-bit calibration): least divergence of the histogram.

    min over clip T of KL(P ‖ Q),   P: |x| clipped at T,   Q: P merged to the grid's levels

The bin at zero counts as much as its neighbour: zero is a level of every grid, but behind a ReLU it
is so frequent that not to merge it with its neighbours would outweigh all that clipping does.

KL looks at how the values are distributed and not at how far they are moved, so it is a method for
8 bits; at 4 and below the least error is better.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.maths.calibrators.base import Range, Samples
from workbench.maths.calibrators.registry import calibrator
from workbench.maths.grid import Grid

BINS = 2048
CLIPS = 128  # tried, besides the first


@calibrator(
    "entropy",
    title="Least divergence of the histogram",
    citation="Migacz 2017, 8-bit Inference with TensorRT, GTC 2017",
    data="none for weights, unlabelled for activations",
    cost="seconds",
    cells=("calibration/tensor_error",),
    strategy="reconstruction",
    use="8-bit activations, to compare with toolkits that do so",
)
def entropy(samples: Samples, grid: Grid) -> Range:
    """Keeps the distribution of the values as it was, as far as the levels can."""
    low, high = samples.extremes()
    rows = zip(samples.values, samples.weights(), strict=True)
    limits = torch.stack([_limit(values.abs(), counts, grid) for values, counts in rows])
    return torch.maximum(low, -limits), torch.minimum(high, limits)


def _limit(magnitudes: Tensor, counts: Tensor, grid: Grid) -> Tensor:
    """The clip on |x| with the least divergence."""
    top = float(magnitudes.max())
    if top == 0.0 or float(counts.sum()) < BINS:  # too few values to fill a histogram
        return magnitudes.new_tensor(top)
    index = (magnitudes / top * (BINS - 1)).long()
    histogram = torch.zeros(BINS).scatter_add_(0, index, counts.float())
    histogram[0] = torch.minimum(histogram[0], histogram[1])
    levels = max(2, (grid.qmax - grid.qmin + 1) // (2 if grid.signed else 1))
    sizes = range(levels, BINS + 1, BINS // CLIPS)
    scores = torch.tensor([_divergence(histogram, size, levels) for size in sizes])
    return magnitudes.new_tensor(sizes[int(scores.argmin())] * top / BINS)


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
