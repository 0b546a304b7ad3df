"""Trained ternary quantization, TTQ (Zhu et al. 2017, arXiv:1612.01064).

    ŵ = Wp s if w > Δ,  0 if |w| <= Δ,  -Wn s if w < -Δ;    Δ = t max|w|
    ∂L/∂Wp = s Σ ∂L/∂ŵ over w > Δ,   ∂L/∂Wn = -s Σ ∂L/∂ŵ over w < -Δ
    ∂L/∂w  = ∂L/∂ŵ × Wp above Δ, 1 between, Wn below -Δ

Wp and Wn are learned, two numbers for each layer, and start at 1. The paper divides weights by
their maximum beforehand; here Wp and Wn are counted in units of s instead, a constant of each scale
(each channel, say): the mean of |w| over |w| > Δ before training. Δ follows the weights. A code is
round(w / 2Δ), so an estimator of that rounding may shape the gradient of w. The levels are not
equally far apart: files hold them as a table, and what multiplies them computes in float.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths import few
from workbench.maths.grid import Grid, dequantize, quantize
from workbench.maths.ste import straight_through
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import quantizer

BITS = (2,)


class TtqOptions(Options):
    """What a person may choose."""

    threshold: Annotated[
        float, Field(ge=0, lt=1, description="t: weights up to this share of the largest are zero")
    ] = 0.05


@quantizer(
    "ttq",
    title="TTQ: ternary weights, two learned levels",
    options=TtqOptions,
    citation="Zhu et al. 2017, arXiv:1612.01064",
    weights_only=True,
    bits=BITS,
)
class TTQ(Quantizer):
    """Zero, and a learned level on each side of it."""

    SMALLEST = 1e-8

    def __init__(
        self, grid: Grid, shape: tuple[int, ...], options: TtqOptions | None = None
    ) -> None:
        super().__init__(grid, shape, options)
        self.threshold = (options or TtqOptions()).threshold
        size = self.grid.granularity.shape(self.shape)
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("zero_point", torch.zeros(size))
        del self.levels
        self.levels = nn.Parameter(self.grid.levels().clone())

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        if grid.table == few.TERNARY:
            return grid
        few.check_served("ttq", grid, BITS)
        return Grid(2, granularity=grid.granularity, table=few.TERNARY)

    def affine(self) -> tuple[Tensor, Tensor]:
        return self.scale.clamp(min=self.SMALLEST), self.zero_point

    def table(self) -> Tensor:
        """-Wn, 0, Wp."""
        assert self.levels is not None
        sizes = self.levels.abs().clamp(min=self.SMALLEST)
        return torch.stack([-sizes[0], torch.zeros_like(sizes[1]), sizes[2]])

    @torch.no_grad()
    def start(self, weight: Tensor) -> None:
        """Wp = Wn = 1, in units of the mean magnitude of what is not zero."""
        self.scale.copy_(
            few.mean_magnitude(weight, self.grid.granularity, above=self._step(weight) / 2)
        )
        assert self.levels is not None
        self.levels.copy_(self.grid.levels())

    def fit(self, weight: Tensor, calibrator: str) -> None:
        """As `start`; the calibrator is not asked."""
        self.start(weight)

    def fake_quantize(self, x: Tensor) -> Tensor:
        scale, zero_point = self.affine()
        step = self._step(x)
        signs = self._signs(x, step)
        index, table = signs.detach() + 1, self.table()
        values = dequantize(index, scale, zero_point, self.grid, table)
        slope = table.detach().abs()[index.long()]
        slope = torch.where(index == 1, torch.ones_like(slope), slope)
        passed = signs * self.grid.granularity.expand(step, x) * slope
        return values + straight_through(torch.zeros_like(passed), passed)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        return self._signs(x, self._step(x)) + 1

    def nearest(self, x: Tensor) -> Tensor:
        return self.codes(x)

    def _signs(self, x: Tensor, step: Tensor) -> Tensor:
        grid = few.ternary_grid(self.grid.granularity)
        estimator = self.estimator or few.IDENTITY
        return quantize(x, step, torch.zeros_like(step), grid, estimator=estimator)

    def _step(self, x: Tensor) -> Tensor:
        """2Δ."""
        largest = few.largest_magnitude(x.detach(), self.grid.granularity)
        return (2 * self.threshold * largest).clamp(min=self.SMALLEST)
