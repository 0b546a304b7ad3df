"""Learned step and offset, LSQ+ (Bhalgat et al. 2020, arXiv:2004.09576).

    x̄ = round(clip((x - β) / s, n, p)),   x̂ = s x̄ + β                        (eq. 1, 2)
    ∂x̂/∂s = round(u) - u inside the range, n or p outside,   u = (x - β) / s
    ∂x̂/∂β = 0 inside the range, 1 outside
    weights begin at s = max(|μ - 3σ|, |μ + 3σ|) / 2^(b-1), activations at the least squared error

A file has integer zero-points, so β is used as the nearest one, z = round(-β / s), limited to the
codes: what is simulated is what runs, and zero stays a level. The gradient passes both roundings,
and is multiplied by LSQ's g. β is kept as a share of the range that calibration found, so that one
learning rate fits layers of any size, and an offset that begins at 0 moves.

On symmetric grids there is no offset, and this is LSQ with another start.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.grid import Grid, fake_quantize
from workbench.maths.ste import round_ste, scale_gradient, straight_through
from workbench.quantizers.lsq import LSQ
from workbench.quantizers.registry import quantizer

SIGMAS = 3.0


@quantizer(
    "lsq_plus",
    title="LSQ+: learned step and offset",
    citation="Bhalgat et al. 2020, arXiv:2004.09576",
)
class LSQPlus(LSQ):
    """Learns the step and, on grids with a zero-point, where the range lies."""

    absolute: ClassVar[frozenset[str]] = frozenset({"offset"})
    span: Tensor

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        if not grid.symmetric:
            self.offset = nn.Parameter(torch.zeros_like(self.scale))  # β / span
            self.register_buffer("span", torch.ones_like(self.scale.detach()))

    @property
    def beta(self) -> Tensor:
        """β, the real value of the lowest code where that is 0; differentiable."""
        return self.offset * self.span

    def affine(self) -> tuple[Tensor, Tensor]:
        scale, zero_point = super().affine()
        if self.grid.symmetric:
            return scale, zero_point
        nearest = round_ste(-self.beta / scale)
        return scale, straight_through(nearest.clamp(self.grid.qmin, self.grid.qmax), nearest)

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        super().set_affine(scale, zero_point)
        if not self.grid.symmetric:
            steps = self.grid.qmax - self.grid.qmin
            self.span.copy_(self.scale * steps)
            self.offset.copy_(-self.zero_point / steps)

    def fake_quantize(self, x: Tensor) -> Tensor:
        factor = self.gradient_factor(x)
        scale, zero_point = (scale_gradient(part, factor) for part in self.affine())
        return fake_quantize(x, scale, zero_point, self.grid, self.table(), self.estimator)

    @torch.no_grad()
    def init_from(self, x: Tensor) -> None:
        """The paper's start of a weight: μ ± 3σ, for each scale."""
        rows, unrows = self.grid.granularity.rows(x), self.grid.granularity.unrows
        mean, spread = rows.mean(dim=1), SIGMAS * rows.std(dim=1, correction=0)
        if not self.grid.symmetric:
            self.set_range(unrows(mean - spread, x.shape), unrows(mean + spread, x.shape))
            return
        step = torch.maximum((mean - spread).abs(), (mean + spread).abs())
        step = unrows(step / 2 ** (self.grid.bits - int(self.grid.signed)), x.shape)
        self.set_affine(step.clamp(min=self.SMALLEST), torch.zeros_like(step))
