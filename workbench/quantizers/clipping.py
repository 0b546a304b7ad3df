"""Learnable weight clipping, LWC (OmniQuant, Shao et al. 2024, arXiv:2308.13137).

    s = (σ(γ) max(w) - σ(β) min(w)) / (2^bits - 1),   z = -round(σ(β) min(w) / s)

The range is a share of the one that calibration found, which in the paper is the weight's whole
range. Both shares start at σ(4) = 0.982; each weight goes to its nearest level.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.clipping import clipped_affine
from workbench.maths.grid import Grid, affine_range, fake_quantize
from workbench.maths.ranges import weight_range
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import quantizer

INITIAL = 4.0
WHOLE = 20.0  # its sigmoid is 1 in float32


@quantizer(
    "clipping",
    title="LWC: learned clipping",
    citation="Shao et al. 2024, arXiv:2308.13137",
    weights_only=True,
    follows=True,
    learns={"gamma": "weight_scale", "beta": "weight_scale"},
)
class Clipping(Quantizer):
    """Learns how much of each range to keep."""

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        size = grid.granularity.shape(self.shape)
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("zero_point", torch.zeros(size))
        self.gamma = nn.Parameter(torch.full(size, WHOLE))
        self.beta = nn.Parameter(torch.full(size, WHOLE))

    @torch.no_grad()
    def start(self, weight: Tensor) -> None:
        """Begin at 0.982 of the range on both sides."""
        self.gamma.fill_(INITIAL)
        self.beta.fill_(INITIAL)

    @torch.no_grad()
    def follow(self, weight: Tensor) -> None:
        """Take the range of a weight that was rescaled, and keep the shares."""
        low, high = weight_range(weight, self.grid, "minmax")
        scale, zero_point = affine_range(low, high, self.grid)
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)

    def affine(self) -> tuple[Tensor, Tensor]:
        shares = self.gamma.sigmoid(), self.beta.sigmoid()
        return clipped_affine(self.scale, self.zero_point, self.grid, *shares)

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        super().set_affine(scale, zero_point)
        self.gamma.fill_(WHOLE)
        self.beta.fill_(WHOLE)

    def fake_quantize(self, x: Tensor) -> Tensor:
        return fake_quantize(x, *self.affine(), self.grid, self.table(), self.estimator)
