"""Additive powers of two for activations, APoT (Li et al. 2020, openreview BkgXT24tDS).

    x̂ = α Π(clip(x / α, 0, 1))                                   Π: the nearest level    (eq. 4)
    levels Σ_i p_i over their largest, p_i of {0, 2^-i, 2^-(i+n), ...}                   (eq. 5)
    ∂x̂/∂α = 1 for x >= α, else Π(x/α) - x/α;   ∂x̂/∂x = 1 inside, 0 outside              RCF, (eq. 7)

α starts at the end of the calibrated range. Where that range reaches below zero, which the paper
does not have, one bit is the sign: the levels are those of one bit less, on both sides, down to -α.
A value halfway between two levels goes to the upper one. All levels are whole multiples of α over
the largest multiple, so that integer kernels can follow.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.grid import Grid
from workbench.maths.levels import apot_multiples
from workbench.maths.ste import clamp_strict, straight_through
from workbench.quantizers.registry import quantizer
from workbench.quantizers.steps import Staircase

BITS = (2, 3, 4, 5)


@quantizer(
    "apot",
    title="APoT: sums of powers of two, for activations",
    citation="Li et al. 2020, openreview BkgXT24tDS",
    activations_only=True,
    bits=BITS,
)
class APoT(Staircase):
    """Levels that lie closer together near zero, with a learned clip.

    Attributes:
        scale: α; offset: 0, or the lowest level of the uniform grid where it was below zero.
    """

    called = "apot"
    served = BITS
    SMALLEST = 1e-8

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        del self.scale
        self.scale = nn.Parameter(torch.ones(()))

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        super().set_affine(scale, zero_point)
        ends = self.offset, self.offset + self.grid.qmax - self.grid.qmin
        self.scale.copy_(scale.reshape(()) * max(abs(float(end)) for end in ends))

    @property
    def multiples(self) -> Tensor:
        """The levels in steps, `(codes,)`."""
        below = bool(self.offset < 0)
        above = apot_multiples(self.grid.bits - int(below)).to(self.scale)
        return torch.cat([-above.flip(0)[:-1], above]) if below else above

    def affine(self) -> tuple[Tensor, Tensor]:
        """α over the largest multiple; zero-point 0."""
        alpha = self.scale.abs().clamp(min=self.SMALLEST)
        return alpha / self.multiples[-1], self.zero_point

    def thresholds_in_use(self) -> Tensor:
        steps = self.multiples
        return (steps[1:] + steps[:-1]) / 2 * self.affine()[0]

    def code_levels(self) -> Tensor:
        return self.multiples * self.affine()[0]

    def fake_quantize(self, x: Tensor) -> Tensor:
        scale, multiples = self.affine()[0], self.multiples
        steps = multiples[self.codes(x).long()]
        if torch.is_grad_enabled():
            inside = clamp_strict(x / scale, float(multiples[0]), float(multiples[-1]))
            steps = straight_through(steps, inside)
        return steps * scale
