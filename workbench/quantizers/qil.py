"""Quantization intervals learned with the task, QIL (Jung et al. 2019, arXiv:1808.05779).

    v = 0                            |w| < c - d     pruned                   (eq. 4)
    v = sign(w)                      |w| > c + d     clipped
    v = sign(w) (a |w| + b)^γ        between,  a = 1 / (2d),  b = (1 - c/d) / 2
    ŵ = s round((2^(b-1) - 1) v)                                              (eq. 2)

The centre c and the distance d of the interval and the power γ are learned from the task's loss,
with the straight-through gradient of the rounding. The paper has s = 1 / (2^(b-1) - 1) and leaves
the rest to the batch norm behind the layer; here s is learned too, since batch norms may be folded.
The interval begins as the range that calibration found, without pruning and with γ = 1, where this
is plain rounding.

Codes are those of the symmetric narrow grid, and the interval is absorbed into them when a weight
is stored. Weights only: an activation would be read with the interval's step and offset and given
back with s, and a file's pair of quantize and dequantize has one scale for both.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from workbench.foundation.errors import RecipeError
from workbench.foundation.options import Options
from workbench.maths.grid import Grid, dequantize, quantize
from workbench.maths.ste import clamp_strict
from workbench.quantizers.base import Quantizer, uniform_only
from workbench.quantizers.registry import quantizer

SMALLEST = 1e-8
FEWEST_BITS = 2


@quantizer(
    "qil",
    title="QIL: learned intervals",
    citation="Jung et al. 2019, arXiv:1808.05779",
    weights_only=True,
    projects=False,
    bits=tuple(range(FEWEST_BITS, 9)),
)
class QIL(Quantizer):
    """Learns which weights are pruned, which are clipped, and a curve between."""

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        size = self.grid.granularity.shape(self.shape)
        self.scale = nn.Parameter(torch.full(size, 1.0 / self.grid.qmax))
        self.register_buffer("zero_point", torch.zeros(size))
        self.c = nn.Parameter(torch.full(size, 0.5))
        self.d = nn.Parameter(torch.full(size, 0.5))
        self.gamma = nn.Parameter(torch.ones(size))

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        if uniform_only(grid, "qil").bits < FEWEST_BITS:
            raise RecipeError(
                f"quantizer 'qil' has no levels of '{grid.bits}' bits; ask for '{FEWEST_BITS}' or"
                " more, since it has levels on both sides of 0"
            )
        return replace(grid, signed=True, symmetric=True, narrow=True)

    def affine(self) -> tuple[Tensor, Tensor]:
        return self.scale.abs().clamp(min=SMALLEST), self.zero_point

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        """Plain rounding with this step."""
        super().set_affine(scale, torch.zeros_like(scale))
        half = self.scale * (self.grid.qmax / 2)
        self.c.copy_(half)
        self.d.copy_(half)
        self.gamma.fill_(1)

    @torch.no_grad()
    def take(self, other: Quantizer) -> None:
        """Begin with the other's range; or where the other is."""
        if isinstance(other, QIL):
            self.load_state_dict(other.state_dict())
        else:
            self.set_affine(other.reach() / self.grid.qmax, self.zero_point)

    @torch.no_grad()
    def start(self, weight: Tensor) -> None:
        """Begin at the plain rounding of least squared error."""
        self.fit(weight, "mse")

    @torch.no_grad()
    def coarsen(self, least: Tensor) -> None:
        self.scale.copy_(torch.maximum(self.affine()[0], least).expand_as(self.scale))

    def fake_quantize(self, x: Tensor) -> Tensor:
        return dequantize(self._levels(x), *self.affine(), self.grid)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        return self._levels(x)

    def _levels(self, w: Tensor) -> Tensor:
        """Codes, differentiable."""
        c, d, gamma = (self.grid.granularity.expand(p, w) for p in (self.c, self.d, self.gamma))
        place = clamp_strict((w.abs() - c) / (2 * d.abs().clamp(min=SMALLEST)) + 0.5, 0.0, 1.0)
        curved = place.clamp(min=SMALLEST).pow(gamma.clamp(min=SMALLEST))
        v = w.sign() * torch.where(place > 0, curved, torch.zeros_like(curved))
        unit = w.new_ones(()), w.new_zeros(())
        return quantize(v * self.grid.qmax, *unit, self.grid, estimator=self.estimator)

    def nearest(self, x: Tensor) -> Tensor:
        return self.codes(x)  # there is no rounding without the curve before it
