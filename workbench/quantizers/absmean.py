"""Ternary weights over their mean magnitude, BitNet b1.58 (Ma et al. 2024, arXiv:2402.17764).

    ŵ = γ RoundClip(w / (γ + ε), -1, 1)                                            (eq. 1, 2)
    γ = E|w|                                                                       (eq. 3)
    ∂L/∂w = ∂L/∂ŵ                                                      straight-through

γ follows the weights, anew at every forward. Here ε is a least γ, which matters where all weights
are zero. It is meant for training: as a rounding of normal weights its squared error is 0.263 σ²,
where TWN's is 0.192 σ².
"""

from __future__ import annotations

from torch import Tensor

from workbench.maths.few import IDENTITY, TERNARY, check_served, mean_magnitude, ternary_grid
from workbench.maths.grid import Grid, quantize
from workbench.quantizers.from_weight import FromWeight
from workbench.quantizers.registry import quantizer

BITS = (2,)


@quantizer(
    "absmean",
    title="Absmean: ternary weights of BitNet b1.58",
    citation="Ma et al. 2024, arXiv:2402.17764",
    weights_only=True,
    bits=BITS,
)
class Absmean(FromWeight):
    """Three levels a mean magnitude apart, to which weights are rounded."""

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        if grid.uniform and grid.label == TERNARY:
            return grid
        check_served("absmean", grid, BITS)
        return ternary_grid(grid.granularity)

    def fitted(self, x: Tensor) -> Tensor:
        return mean_magnitude(x, self.grid.granularity)

    def snapped(self, x: Tensor, scale: Tensor) -> Tensor:
        estimator = self.estimator or IDENTITY
        return quantize(x, scale, self.zero_point, self.grid, estimator=estimator)
