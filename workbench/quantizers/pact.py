"""Parameterized clipping activation, PACT (Choi et al. 2018, arXiv:1805.06085).

    y = (|x| - |x - α| + α) / 2 = clip(x, 0, α)                               (eq. 1)
    ŷ = round(y (2^k - 1) / α) α / (2^k - 1)                                  (eq. 2)
    ∂ŷ/∂α = 1 where x >= α, else 0                                            (eq. 3)

α hears only of what it clips: how values inside are rounded has no part in it, unlike LSQ. A clip
therefore only grows without the paper's penalty λ α², which is the training's business. It begins
where calibration left it (at a fixed 6 to 10 in the paper).

Beyond the paper: a signed symmetric grid is clipped at -α and α, and on a grid with a zero-point
the lower end β <= 0 is learned as well, ∂ŷ/∂β = 1 where x <= β; a lower end at 0, as behind a ReLU,
stays there. The zero-point is the integer nearest to -β / s.

For activations; the paper's weights are DoReFa's (quantizer `dorefa`).
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.grid import Grid, affine_range, fake_quantize
from workbench.maths.ste import straight_through
from workbench.quantizers.base import Quantizer, uniform_only
from workbench.quantizers.registry import quantizer

SMALLEST = 1e-8


class PactOptions(Options):
    """What a person may choose."""

    decay: Annotated[
        float, Field(ge=0, le=1, description="λ of the penalty λ α², without which clips grow")
    ] = 2e-4


@quantizer(
    "pact",
    title="PACT: learned clips of activations",
    citation="Choi et al. 2018, arXiv:1805.06085",
    options=PactOptions,
    activations_only=True,
)
class Pact(Quantizer):
    """Learns where an activation is clipped, from the values beyond."""

    def __init__(
        self, grid: Grid, shape: tuple[int, ...], options: PactOptions | None = None
    ) -> None:
        super().__init__(grid, shape, options)
        self.penalty = (options or PactOptions()).decay
        size = grid.granularity.shape(self.shape)
        self.alpha = nn.Parameter(torch.ones(size))
        if not grid.symmetric:
            self.beta = nn.Parameter(torch.zeros(size))

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        return uniform_only(grid, "pact")

    def clips(self) -> tuple[Tensor, Tensor]:
        """The lower and the upper end of the range; differentiable."""
        high = self.alpha.abs().clamp(min=SMALLEST)
        if not self.grid.symmetric:
            return -self.beta.abs(), high
        return (-high if self.grid.signed else torch.zeros_like(high)), high

    def affine(self) -> tuple[Tensor, Tensor]:
        return affine_range(*self.clips(), self.grid)

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        grid, steps = self.grid, self.grid.qmax - self.grid.qmin
        if grid.symmetric:
            high = scale * (steps / 2 if grid.signed else steps)
        else:
            high = scale * (grid.qmax - zero_point)
            self.beta.copy_((scale * (grid.qmin - zero_point)).reshape(self.beta.shape))
        self.alpha.copy_(high.reshape(self.alpha.shape))

    def fake_quantize(self, x: Tensor) -> Tensor:
        scale, zero_point = (part.detach() for part in self.affine())
        snapped = fake_quantize(x, scale, zero_point, self.grid, None, self.estimator)
        if not torch.is_grad_enabled():
            return snapped
        low, high = (self.grid.granularity.expand(clip, x) for clip in self.clips())
        nothing = torch.zeros_like(x)
        clipped = torch.where(x >= high, high, torch.where(x <= low, low, nothing))
        return snapped + straight_through(nothing, clipped)
