"""AdaQuant's variables (Hubara et al. 2021, arXiv:2006.10518).

    ŵ = Q(w + V; s)

V is free, of the weight's shape, and receives the straight-through gradient; the step s is learned
with it. V is not bounded: with few examples below 4 bits it over-fits, where learned rounding does
not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.grid import Grid, fake_quantize, quantize
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import quantizer


@quantizer(
    "adaquant",
    title="AdaQuant: free weights",
    citation="Hubara et al. 2021, arXiv:2006.10518",
    weights_only=True,
    learns={"v": "weights", "scale": "weight_scale"},
)
class AdaQuant(Quantizer):
    """Learns what to add to each weight before it is rounded, and the step."""

    SMALLEST = 1e-8

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        size = grid.granularity.shape(self.shape)
        self.scale = nn.Parameter(torch.ones(size))
        self.register_buffer("zero_point", torch.zeros(size))
        self.v = nn.Parameter(torch.zeros(self.shape))

    @torch.no_grad()
    def start(self, weight: Tensor) -> None:
        """Begin at rounding to nearest."""
        self.v.zero_()

    def affine(self) -> tuple[Tensor, Tensor]:
        return self.scale.abs().clamp(min=self.SMALLEST), self.zero_point

    def fake_quantize(self, x: Tensor) -> Tensor:
        return fake_quantize(x + self.v, *self.affine(), self.grid, self.table())

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        return quantize(x + self.v, *self.affine(), self.grid, self.table())
