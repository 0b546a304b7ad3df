"""Min-max (Jacob et al. 2018, arXiv:1712.05877): nothing is clipped."""

from __future__ import annotations

from workbench.maths.calibrators.base import Range, Samples
from workbench.maths.calibrators.registry import calibrator
from workbench.maths.grid import Grid


@calibrator(
    "minmax",
    title="Extremes",
    citation="Jacob et al. 2018, arXiv:1712.05877",
    data="none for weights, unlabelled for activations",
    cost="seconds",
    cells=("calibration/tensor_error",),
    strategy="baseline",
    use="8 bits with a scale per channel, or where nothing may be clipped",
)
def minmax(samples: Samples, grid: Grid) -> Range:  # noqa: ARG001
    """Covers everything that was seen."""
    return samples.extremes()
