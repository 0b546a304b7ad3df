"""Ternary weight networks, TWN (Li et al. 2016, arXiv:1605.04711).

    ŵ = α if w > Δ,  0 if |w| <= Δ,  -α if w < -Δ
    Δ = 0.7 E|w|
    α = mean of |w| over |w| > Δ
    ∂L/∂w = ∂L/∂ŵ                                                  straight-through

Δ and α follow the weights, anew at every forward, for each scale of its own. For normal weights Δ
is 0.559 σ, where the least squared error is at 0.612 σ. A code is round(w / 2Δ), so an estimator of
that rounding may replace the straight-through one.
"""

from __future__ import annotations

from torch import Tensor

from workbench.maths.few import IDENTITY, TERNARY, check_served, mean_magnitude, ternary_grid
from workbench.maths.grid import Grid, quantize
from workbench.maths.ste import scale_gradient
from workbench.quantizers.from_weight import FromWeight
from workbench.quantizers.registry import quantizer

BITS = (2,)
SHARE = 0.7


@quantizer(
    "twn",
    title="TWN: ternary weights",
    citation="Li et al. 2016, arXiv:1605.04711",
    weights_only=True,
    bits=BITS,
)
class TWN(FromWeight):
    """Three levels, with threshold and scale from the mean magnitude of the weights."""

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        if grid.uniform and grid.label == TERNARY:
            return grid
        check_served("twn", grid, BITS)
        return ternary_grid(grid.granularity)

    def fitted(self, x: Tensor) -> Tensor:
        return mean_magnitude(x, self.grid.granularity, above=self._threshold(x))

    def snapped(self, x: Tensor, scale: Tensor) -> Tensor:
        step = 2 * self._threshold(x)
        codes = quantize(x, step, self.zero_point, self.grid, estimator=self.estimator or IDENTITY)
        return scale_gradient(codes, self.grid.granularity.expand(step / scale, x))

    def _threshold(self, x: Tensor) -> Tensor:
        mean = mean_magnitude(x.detach(), self.grid.granularity)
        return (SHARE * mean).clamp(min=self.SMALLEST)
