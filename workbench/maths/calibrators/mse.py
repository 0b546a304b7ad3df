"""Least error of the tensor itself, by search over shrunken ranges.

    min over range of Σ |x̂ - x|^p,   p = 2.4 ("mse") or 2 ("l2")

Ratios from 1.00 to 0.20 of the extremes, 25 coarse and 17 fine ones; on asymmetric grids then each
end by itself. p = 2.4 is the default of BRECQ (arXiv:2102.05426), QDrop (arXiv:2203.05740) and
GPTQ (arXiv:2210.17323), after LAPQ (arXiv:1911.07190); it clips a little less than p = 2.
"""

from __future__ import annotations

from functools import partial

from workbench.maths.calibrators.base import Range, Samples, power_error, search
from workbench.maths.calibrators.registry import calibrator
from workbench.maths.grid import Grid

NORM = 2.4


def least_error(samples: Samples, grid: Grid, norm: float) -> Range:
    """The shrunken range with the least Σ |x̂ - x|^norm in each row."""
    error = partial(power_error, samples, grid, norm)
    return search(error, *samples.extremes(), symmetric=grid.symmetric)


@calibrator(
    "mse",
    title="Least |error|^2.4",
    citation="Nahshan et al. 2020, arXiv:1911.07190",
    data="none for weights, unlabelled for activations",
    cost="seconds",
    cells=("calibration/tensor_error", "range/tensor_error"),
    strategy="reconstruction",
    use="the first choice at any width",
)
def mse(samples: Samples, grid: Grid) -> Range:
    """Clips where that lowers the tensor's error; large errors weigh a little more than squared."""
    return least_error(samples, grid, NORM)


@calibrator(
    "l2",
    title="Least squared error",
    citation="Nahshan et al. 2020, arXiv:1911.07190",
    data="none for weights, unlabelled for activations",
    cost="seconds",
    cells=("calibration/tensor_error", "range/tensor_error"),
    strategy="reconstruction",
    use="where the tensor's own signal-to-noise ratio is what counts",
)
def l2(samples: Samples, grid: Grid) -> Range:
    """Clips where that lowers the tensor's squared error."""
    return least_error(samples, grid, 2.0)
