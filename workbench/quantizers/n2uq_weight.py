"""Weights of N2UQ, normalised so that codes are used evenly (Liu et al. 2022, arXiv:2111.14826).

    ŵ = σ Q(clip(w / σ, ±c/2)),   Q: 2^b equal steps from -c/2 to c/2, none of them at 0
    σ = γ E|w|,   γ = (2^b - 1) / 2^(b-1)                        of each output channel    (eq. 9)

Here α = c/2 is learned (`normalised` has the gradients), with a clip for each scale. In the
authors' release c is a parameter as well, 2 at first, but no gradient reaches it, and that of the
weights is divided by σ. The levels are odd multiples of s = σ c / (2 (2^b - 1)) and stored as such:
whole numbers of b + 1 bits without a zero-point, which integer kernels read as any others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.few import check_served, is_odd, mean_magnitude, odd_grid
from workbench.maths.grid import Grid
from workbench.quantizers.normalised import Normalised
from workbench.quantizers.registry import quantizer

BITS = (2, 3, 4, 5)


@quantizer(
    "n2uq_weight",
    title="N2UQ: balanced weights with a learned clip",
    citation="Liu et al. 2022, arXiv:2111.14826",
    weights_only=True,
    projects=False,
    bits=BITS,
)
class N2UQWeight(Normalised):
    """Equal steps on both sides of zero, over normalised weights."""

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        self.width = self.own_grid(grid).bits - 1
        self.top = 2.0**self.width - 1
        super().__init__(grid, shape, options)

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        if is_odd(grid) and grid.bits - 1 in BITS:
            return grid
        check_served("n2uq_weight", grid, BITS)
        return odd_grid(grid.bits, grid.granularity)

    def sizes(self, weight: Tensor) -> Tensor:
        factor = (2**self.width - 1) / 2 ** (self.width - 1)
        return factor * mean_magnitude(weight, self.grid.granularity)

    def snapped(self, steps: Tensor) -> Tensor:
        raised = ((steps + self.top) / 2).round().clamp(0, self.top)
        return 2 * raised - self.top

    @torch.no_grad()
    def tie_distance(self, x: Tensor) -> Tensor:
        halves = x / self.grid.granularity.expand(self.affine()[0], x) / 2
        return (halves - halves.round()).abs()
