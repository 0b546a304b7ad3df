"""Nonuniform-to-uniform activations, N2UQ (Liu et al. 2022, arXiv:2111.14826).

    q = Σ_i [x >= T_i],   x̂ = (q + offset) s
    T_i = B_i + a_i / 2,   B_0 = start,   B_{i+1} = B_i + a_i,   a_i > 1e-3         (eq. 4 to 6)

    backward, for B_i <= x < B_{i+1}, as if  q = i + (x - B_i) / a_i                (G-STE, eq. 8)
    ∂q/∂x = 1 / a_i,   ∂q/∂a_i = -(x - B_i) / a_i²,   ∂q/∂a_j = -1 / a_i for j < i,
    ∂q/∂start = -1 / a_i,   and all of them 0 outside

Each segment of width a_i is what one output step stands for: between its ends the expected value of
stochastic rounding is a line, and that is what the gradient sees. Outputs stay equal steps, so what
follows can compute on integers. Thresholds begin at those of the uniform quantizer. Here start and
widths are counted in `input_scale`, which is the authors' first factor; s holds their second one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.grid import Grid
from workbench.maths.staircase import polyline
from workbench.maths.ste import straight_through
from workbench.quantizers.registry import quantizer
from workbench.quantizers.steps import EvenSteps

BITS = (2, 3, 4, 5)
NARROWEST = 1e-3


@quantizer(
    "n2uq",
    title="N2UQ: learned thresholds, equal steps",
    citation="Liu et al. 2022, arXiv:2111.14826",
    activations_only=True,
    bits=BITS,
)
class N2UQ(EvenSteps):
    """Learns where each step of the activations begins."""

    called = "n2uq"
    served = BITS
    absolute = frozenset({"start"})

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        self.input_scale = nn.Parameter(torch.ones(()))
        self.start = nn.Parameter(torch.tensor(float(grid.qmin)))
        self.widths = nn.Parameter(torch.ones(self.count))

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        super().set_affine(scale, zero_point)
        self.input_scale.copy_(self.scale)
        self.start.copy_(self.offset)
        self.widths.fill_(1.0)

    def knots(self) -> Tensor:
        """B, in the values of x, `(n + 1,)`."""
        widths = torch.where(self.widths > NARROWEST, self.widths, NARROWEST)
        places = self.start + torch.cat([widths.new_zeros(1), widths.cumsum(0)])
        return places * self.input_scale.abs().clamp(min=self.SMALLEST)

    def thresholds_in_use(self) -> Tensor:
        knots = self.knots()
        return (knots[1:] + knots[:-1]) / 2

    def fake_quantize(self, x: Tensor) -> Tensor:
        codes = self.codes(x)
        if torch.is_grad_enabled():
            steps = torch.arange(self.count + 1.0, device=x.device)
            line = polyline(x, self.knots(), steps)
            codes = straight_through(codes, line)
        return (codes + self.offset) * self.affine()[0]
