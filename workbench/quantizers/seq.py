"""Stretched elastic quant, SEQ, and what ParetoQ has beside it (Liu et al. 2025, arXiv:2502.02631).

    2 bits    ŵ = α (⌊2 clip(w/α, ±0.99) - ½⌉ + ½) / 2        levels ±¼α and ±¾α
    ternary   ŵ = α ⌊1.5 clip(w/α, ±0.99)⌉ / 1.5              levels 0 and ±⅔α
    1 bit     ŵ = α sign(w)                                   "elastic": α is learned
    3, 4      ŵ = α clip(⌊w/α⌉, -Qn, Qp)                      LSQ

    ∂ŵ/∂w = 1 where w/α is not clipped (to ±1 in 1 bit), else 0
    ∂ŵ/∂α = q(w/α) - w/α inside, q(w/α) beyond; of 1 bit sign(w);    times 1 / sqrt(N Qp)

N is the size of the whole matrix whatever the number of scales, as in the authors' code, so that
each scale of many moves more slowly than under LSQ. Qp is 2^(b-1) - 1, or 1 below 3 bits.
α starts at max|w|, of 1 bit at E|w|, of 3 and 4 bits at max|w| / Qp.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths import few
from workbench.maths.grid import Grid, dequantize, fake_quantize, quantize
from workbench.maths.ste import clamp_strict, scale_gradient
from workbench.quantizers.base import Quantizer
from workbench.quantizers.lsq import LSQ
from workbench.quantizers.registry import quantizer

BITS = (1, 2, 3, 4)
END = 0.99


class SeqOptions(Options):
    """What a person may choose."""

    levels: Annotated[
        Literal["balanced", "ternary"], Field(description="of 2 bits: four, or three with zero")
    ] = "balanced"


@quantizer(
    "seq",
    title="SEQ: balanced low bits of ParetoQ",
    options=SeqOptions,
    citation="Liu et al. 2025, arXiv:2502.02631",
    weights_only=True,
    bits=BITS,
)
class SEQ(LSQ):
    """Learns the reach α of two, three or four balanced levels, and LSQ's step above that."""

    def __init__(
        self, grid: Grid, shape: tuple[int, ...], options: SeqOptions | None = None
    ) -> None:
        asked, grid = grid, self.own_grid(grid)
        if options is not None and options.levels == "ternary" and grid.label == "odd2":
            grid = few.ternary_grid(grid.granularity)
        super().__init__(grid, shape, options)
        self.asked = asked
        steps = {few.BINARY: 1.0, few.TERNARY: 2 / 3, "odd2": 1 / 4}
        self.step = steps.get(grid.label, 1.0)  # of the codes, in α
        self.end = 1.0 if grid.label == few.BINARY else END

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        if grid.uniform and (few.is_odd(grid) or grid.label == few.TERNARY):
            return grid
        few.check_served("seq", grid, BITS)
        if grid.bits < 3:
            return few.odd_grid(grid.bits, grid.granularity)
        return Grid(grid.bits, granularity=grid.granularity)

    @property
    def alpha(self) -> Tensor:
        """What is learned, kept positive."""
        return self.scale.abs().clamp(min=self.SMALLEST)

    def affine(self) -> tuple[Tensor, Tensor]:
        return self.alpha * self.step, self.zero_point

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        super().set_affine(scale / self.step, torch.zeros_like(zero_point))

    @torch.no_grad()
    def start(self, weight: Tensor) -> None:
        """The paper's first α."""
        granularity = self.grid.granularity
        if self.grid.label == few.BINARY:
            first = few.mean_magnitude(weight, granularity)
        else:
            first = few.largest_magnitude(weight, granularity)
        self.scale.copy_(first if self.grid.label else first / self.grid.qmax)

    def fit(self, weight: Tensor, calibrator: str) -> None:
        """The paper's first α; the calibrator is not asked."""
        self.start(weight)

    @torch.no_grad()
    def take(self, other: Quantizer) -> None:
        """Of another grid the range: half of what its levels stand for is the reach α."""
        super().take(other)
        if self.grid.label and other.grid != self.grid:
            half = (other.grid.qmax - other.grid.qmin + 1) / 2
            self.scale.copy_(other.affine()[0].reshape(self.scale.shape) * half)

    def gradient_factor(self, x: Tensor) -> float:
        top = 1 if self.grid.label else self.grid.qmax
        return 1 / math.sqrt(x.numel() * top)

    def fake_quantize(self, x: Tensor) -> Tensor:
        alpha = scale_gradient(self.alpha, self.gradient_factor(x))
        if not self.grid.label:
            return fake_quantize(x, alpha, self.zero_point, self.grid, None, self.estimator)
        return dequantize(self._codes(x, alpha), alpha * self.step, self.zero_point, self.grid)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        return self._codes(x, self.alpha) if self.grid.label else super().codes(x)

    def nearest(self, x: Tensor) -> Tensor:
        return self.codes(x)

    def _codes(self, x: Tensor, alpha: Tensor) -> Tensor:
        """Codes of w/α, which is clipped at ±0.99 and no more on the grid."""
        elastic = self.grid.label == few.BINARY
        reach = self.grid.granularity.expand(alpha.detach() if elastic else alpha, x)
        clip = clamp_strict if self.estimator is None else self.estimator.clip
        inside = clip(x / reach, -self.end, self.end)
        step, open_ = x.new_tensor(self.step), few.Unclipped(self.estimator or few.IDENTITY)
        if few.is_odd(self.grid):
            return few.odd_codes(inside, step, self.grid, open_)
        return quantize(inside, step, torch.zeros_like(step), self.grid, estimator=open_)
