"""AutoRound's variables (SignRound, Cheng et al. 2024, arXiv:2309.05516).

    ŵ = s clip(round(w / s + V) + z, qmin, qmax),   |V| <= 1/2
    s, z from the range [β low, α high]

V moves a weight by at most one level; α and β change the range. At first V = 0 and α = β = 1, which
is rounding to nearest on the range that calibration found, bit for bit. In the paper that is the
whole range of the weight, which α, β <= 1 shrink; a range clipped already may also grow again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.clipping import clipped_affine
from workbench.maths.grid import Grid, fake_quantize, quantize
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import quantizer

HALF = 0.5
SMALLEST = 1e-3


@quantizer(
    "autoround",
    title="AutoRound: bounded shifts and a learned range",
    citation="Cheng et al. 2024, arXiv:2309.05516",
    weights_only=True,
    learns={"v": "rounding", "alpha": "weight_scale", "beta": "weight_scale"},
)
class AutoRound(Quantizer):
    """Learns for each weight a shift of up to half a step, and for each scale its range."""

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        size = grid.granularity.shape(self.shape)
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("zero_point", torch.zeros(size))
        self.v = nn.Parameter(torch.zeros(self.shape))
        self.alpha = nn.Parameter(torch.ones(size))
        self.beta = nn.Parameter(torch.ones(size))

    @torch.no_grad()
    def start(self, weight: Tensor) -> None:
        """Begin at rounding to nearest."""
        self.v.zero_()

    def affine(self) -> tuple[Tensor, Tensor]:
        high, low = self.alpha.clamp(min=SMALLEST), self.beta.clamp(min=SMALLEST)
        return clipped_affine(self.scale, self.zero_point, self.grid, high, low)

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        super().set_affine(scale, zero_point)
        self.alpha.fill_(1)
        self.beta.fill_(1)

    def fake_quantize(self, x: Tensor) -> Tensor:
        return fake_quantize(self._shifted(x), *self.affine(), self.grid, self.table())

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        return quantize(self._shifted(x), *self.affine(), self.grid, self.table())

    def _shifted(self, x: Tensor) -> Tensor:
        """w + V s; where levels are not equally far apart, their mean distance is the step."""
        levels = self.table()
        step = 1.0 if levels is None else (levels[-1] - levels[0]) / (len(levels) - 1)
        wide = self.grid.granularity.expand(self.affine()[0], x)
        return x + self.v.clamp(-HALF, HALF) * step * wide
