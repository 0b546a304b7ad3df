"""The best of three percentiles (RepQ-ViT, Li et al. 2023, arXiv:2212.08254, section 4.1).

Of the ranges from the (1 - p)-quantile to the p-quantile, p in {0.999, 0.9999, 0.99999}, the one
with the least Σ (x̂ - x)^2 is kept, for each row.
"""

from __future__ import annotations

import torch

from workbench.maths.calibrators.base import Range, Samples, power_error
from workbench.maths.calibrators.percentile import clipped
from workbench.maths.calibrators.registry import calibrator
from workbench.maths.grid import Grid

PERCENTILES = (0.999, 0.9999, 0.99999)
NORM = 2.0


@calibrator(
    "percentiles",
    title="Best of three percentiles",
    citation="Li et al. 2023, arXiv:2212.08254",
    data="none for weights, unlabelled for activations",
    cost="seconds",
    cells=("calibration/tensor_error",),
    strategy="baseline",
    use="transformers, as in RepQ-ViT",
)
def percentiles(samples: Samples, grid: Grid) -> Range:
    """Leaves a share of 1e-3, 1e-4 or 1e-5 outside on each side, whichever has the least error."""
    ranges = [clipped(samples, 1 - p) for p in PERCENTILES]
    errors = torch.stack([power_error(samples, grid, NORM, *found) for found in ranges])
    best = errors.argmin(dim=0, keepdim=True)
    low, high = (torch.stack(ends).gather(0, best)[0] for ends in zip(*ranges, strict=True))
    return low, high
