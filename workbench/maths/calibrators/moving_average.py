"""Moving average of each batch's extremes (Jacob et al. 2018, arXiv:1712.05877, section 3.1).

    m_t = c m_{t-1} + (1 - c) e_t,   range = m_T / (1 - c^T)

with e_t the least or largest value of batch t. c is 0.9 here; 0.99 and more is usual where training
hands over thousands of batches, but calibration sees ten or so. The division removes the weight
that the average would otherwise give to its own start (as Adam does), so that one batch gives its
extremes and few give nearly their mean. The average is kept by `workbench.maths.histogram`.
"""

from __future__ import annotations

from workbench.maths.calibrators.base import Range, Samples
from workbench.maths.calibrators.registry import calibrator
from workbench.maths.grid import Grid


@calibrator(
    "moving_average",
    title="Moving average of extremes",
    citation="Jacob et al. 2018, arXiv:1712.05877",
    serves=("activations",),
    data="unlabelled, ten batches and more",
    cost="seconds",
    cells=("calibration/tensor_error",),
    strategy="baseline",
    use="8 bits where single examples have freak values",
)
def moving_average(samples: Samples, grid: Grid) -> Range:  # noqa: ARG001
    """The extremes of a typical batch, so that one freak value moves them little."""
    return samples.extremes() if samples.averaged is None else samples.averaged
