"""Percentile: a fixed share of the values is clipped (McKinstry et al. 2018, arXiv:1809.04191).

The share is 1e-5 in all, half on each side, which is the 99.999th percentile of common toolkits.
"""

from __future__ import annotations

from workbench.maths.calibrators.base import Range, Samples
from workbench.maths.calibrators.registry import calibrator
from workbench.maths.grid import Grid

CLIPPED_SHARE = 1e-5


@calibrator(
    "percentile",
    title="Percentile",
    citation="McKinstry et al. 2018, arXiv:1809.04191",
    data="none for weights, unlabelled for activations",
    cost="seconds",
    cells=("calibration/tensor_error",),
    strategy="baseline",
    use="8 bits with a few freak values among very many",
)
def percentile(samples: Samples, grid: Grid) -> Range:  # noqa: ARG001
    """Leaves a share of 1e-5 of the values outside, half on each side."""
    return clipped(samples, CLIPPED_SHARE / 2)


def clipped(samples: Samples, share: float) -> Range:
    """The range of each row that leaves `share` of its values out on each side."""
    order = samples.values.argsort(dim=1)
    ranked = samples.values.gather(1, order)
    weights = samples.weights().gather(1, order)
    before = weights.cumsum(1) / weights.sum(1, keepdim=True)
    low = (before < share).sum(1, keepdim=True)
    high = (before < 1 - share).sum(1, keepdim=True).clamp(max=ranked.shape[1] - 1)
    return ranked.gather(1, low)[:, 0], ranked.gather(1, high)[:, 0]
