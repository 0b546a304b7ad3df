"""Level tables: a scale, and levels that may be learned: k-means (Lloyd 1982), then training of the
centroids (Deep Compression, Han et al. 2016, arXiv:1510.00149, sec. 3).

    ŵ = s L[argmin |w / s - L[i]|]

Fixed tables (NF4, APoT, float8 ...) come from the grid. Of a learned one the levels start where
Lloyd's algorithm leaves them on the normalised weight, and are a parameter: each receives the
gradient of the weights that it stands for, as shared weights do there, and the weights receive the
straight-through gradient. The scale is learned too, as in LSQ. `llt` learns where the code changes
instead, between equal levels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.grid import Grid, fake_quantize
from workbench.maths.levels import lloyd_max, nearest_level
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import quantizer

ROUNDS = 4


@quantizer(
    "table",
    title="Level table, fixed or learned",
    citation="Lloyd 1982; Han et al. 2016, arXiv:1510.00149",
)
class Table(Quantizer):
    """Snaps to the nearest level of a table; learned tables move with the weights."""

    SMALLEST = 1e-8

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        size = grid.granularity.shape(self.shape)
        self.scale = nn.Parameter(torch.ones(size))
        self.register_buffer("zero_point", torch.zeros(size))
        if grid.learns_levels:
            del self.levels
            self.levels = nn.Parameter(grid.levels().clone())

    def affine(self) -> tuple[Tensor, Tensor]:
        return self.scale.abs().clamp(min=self.SMALLEST), self.zero_point

    def table(self) -> Tensor | None:
        if self.levels is None or not self.grid.learns_levels:
            return self.levels
        return self.levels.sort().values

    def fake_quantize(self, x: Tensor) -> Tensor:
        return fake_quantize(x, *self.affine(), self.grid, self.table(), self.estimator)

    @torch.no_grad()
    def fit(self, weight: Tensor, calibrator: str) -> None:
        """A learned table is fitted to the weight itself, and the calibrator is not asked.

        Lloyd's algorithm on the weight over its scale, and least-squares scales for the levels it
        gives, take turns; the table is then normalised to a largest level of 1.
        """
        if self.levels is None or not self.grid.learns_levels:
            super().fit(weight, calibrator)
            return
        rows, unrows = self.grid.granularity.rows, self.grid.granularity.unrows
        x = rows(weight)  # (scales, values that share one)
        scale = x.square().mean(dim=1, keepdim=True).sqrt().clamp(min=self.SMALLEST)
        levels = self.levels.detach()
        for _ in range(ROUNDS):
            levels = lloyd_max(weight / self._spread(scale, weight), len(levels))
            points = levels[nearest_level(x / scale, levels)]
            fitted = (x * points).sum(1, keepdim=True) / points.square().sum(1, keepdim=True)
            scale = torch.where(fitted > self.SMALLEST, fitted, scale)
        largest = levels.abs().max().clamp(min=self.SMALLEST)
        self.set_affine(unrows(scale * largest, weight.shape), self.zero_point)
        self.levels.copy_(levels / largest)

    def _spread(self, rows: Tensor, weight: Tensor) -> Tensor:
        """A value for each row against the weight."""
        granularity = self.grid.granularity
        return granularity.expand(granularity.unrows(rows, weight.shape), weight)
