"""DoReFa's weights (Zhou et al. 2016, arXiv:1606.06160).

    w̃ = tanh(w) / (2 max|tanh w|) + 1/2,   ŵ = E (2 quant_b(w̃) - 1)          (eq. 9, 10)
    quant_b(x) = round((2^b - 1) x) / (2^b - 1)
    1 bit: ŵ = E|w| sign(w),   sign(0) = 1                                    (eq. 7)

The gradient passes the rounding unchanged, and goes on through tanh and the maximum, which is that
of the whole tensor. The paper has E = 1 above one bit, and leaves it to the batch norm behind the
layer to undo that; here E is fitted to the weights by least squares at the start, for each scale,
and then fixed, since batch norms may be folded. With one bit that fit is the mean of |w|.

The 2^b levels are the odd multiples of E / (2^b - 1), and zero is none of them: no zero-point makes
a grid of b bits of them. They are stored as odd codes in b + 1 bits. From 7 bits on the levels are
the symmetric uniform ones, zero among them: nothing is lost there, 9 bits have no container, and
8-bit codes would saturate where 7 bits were asked for to prevent it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.few import is_odd, odd_grid
from workbench.maths.grid import Grid, dequantize, quantize
from workbench.quantizers.base import Quantizer, uniform_only
from workbench.quantizers.registry import quantizer

SMALLEST = 1e-8
MOST_BITS = 6  # of odd codes


@quantizer(
    "dorefa",
    title="DoReFa: weights through tanh",
    citation="Zhou et al. 2016, arXiv:1606.06160",
    weights_only=True,
    projects=False,
)
class DoReFa(Quantizer):
    """Spreads the weights with tanh over levels without a zero."""

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        size = self.grid.granularity.shape(self.shape)
        self.odd = self.grid.label != ""
        self.register_buffer("scale", torch.full(size, 1.0 / self.grid.qmax))  # E = 1
        self.register_buffer("zero_point", torch.zeros(size))

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        if grid.uniform and is_odd(grid):
            return grid
        plain = replace(uniform_only(grid, "dorefa"), signed=True, symmetric=True, narrow=False)
        if grid.bits > MOST_BITS:
            return replace(plain, narrow=True)
        return odd_grid(grid.bits, grid.granularity)

    @torch.no_grad()
    def take(self, other: Quantizer) -> None:
        """The largest level where the other's range ends; `start` fits it better."""
        same = isinstance(other, DoReFa)
        scale = other.affine()[0] if same else other.reach() / self.grid.qmax
        self.set_affine(scale, self.zero_point)

    @torch.no_grad()
    def start(self, weight: Tensor) -> None:
        """E by least squares, for each scale."""
        rows, unrows = self.grid.granularity.rows, self.grid.granularity.unrows
        w, levels = rows(weight), rows(self._levels(weight))
        fitted = (w * levels).sum(1) / levels.square().sum(1).clamp(min=SMALLEST)
        self.set_affine(unrows(fitted.clamp(min=SMALLEST), weight.shape), self.zero_point)

    def fit(self, weight: Tensor, calibrator: str) -> None:
        """As `start`; there is no range to find, so the calibrator is not asked."""
        self.start(weight)

    def fake_quantize(self, x: Tensor) -> Tensor:
        return dequantize(self._levels(x), *self.affine(), self.grid)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        return self._levels(x)

    def _levels(self, w: Tensor) -> Tensor:
        """Codes from -qmax to qmax, differentiable; odd ones are 2 round((u - 1) / 2) + 1."""
        bent, unit = w.tanh(), (w.new_ones(()), w.new_zeros(()))
        u = bent / bent.abs().amax().clamp(min=SMALLEST) * self.grid.qmax
        if not self.odd:
            return quantize(u, *unit, self.grid, estimator=self.estimator)
        half = replace(self.grid, bits=self.grid.bits - 1, narrow=False, label="")
        return 2 * quantize((u - 1) / 2, *unit, half, estimator=self.estimator) + 1

    def nearest(self, x: Tensor) -> Tensor:
        return self.codes(x)  # there is no rounding without the curve before it
