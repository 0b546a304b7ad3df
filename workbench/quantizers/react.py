"""Binary activations with a learned shift, RSign of ReActNet (Liu et al. 2020, arXiv:2003.03488).

    x̂ = s sign(x - β_c),   sign(0) = 1                                                      (eq. 4)
    backward as if  x̂ = s F(u),   u = (x - β_c) / s,   F(u) = 2u - u|u|  for |u| < 1
    ∂x̂/∂x = 2 - 2|u|  for |u| < 1, else 0;   ∂x̂/∂β_c = -∂x̂/∂x;   ∂x̂/∂s = sign(x - β_c)

Each channel c has a shift of its own. It is learned in units of s, which is held fixed for it. The
authors have s = 1 behind a batch normalization; sign(0) is 0 in their code, which no binary code
holds. Of a calibrated one-bit quantizer the threshold is kept and its two levels move to ±s; that
of a signed one, which lies at -s, goes to 0.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.grid import Grid
from workbench.maths.staircase import count_steps
from workbench.maths.ste import clamp_strict, straight_through
from workbench.quantizers.registry import quantizer
from workbench.quantizers.steps import Staircase

BITS = (1,)


class ReactOptions(Options):
    """What a person may choose."""

    axis: Annotated[int, Field(ge=1, le=7, description="along which channels are counted")] = 1


@quantizer(
    "react",
    title="ReActNet: binary, a shift for each channel",
    citation="Liu et al. 2020, arXiv:2003.03488",
    options=ReactOptions,
    activations_only=True,
    bits=BITS,
)
class React(Staircase):
    """Learns for each channel what counts as positive, and how large one is."""

    called = "react"
    served = BITS
    absolute = frozenset({"shift"})
    SMALLEST = 1e-8

    def __init__(
        self, grid: Grid, shape: tuple[int, ...], options: ReactOptions | None = None
    ) -> None:
        super().__init__(grid, shape, options)
        axis = (options or ReactOptions()).axis
        channels = self.shape[axis] if axis < len(self.shape) else 0
        size = (channels or 1,) + (1,) * (len(self.shape) - axis - 1) if channels else ()
        del self.scale, self.offset
        self.scale = nn.Parameter(torch.ones(()))
        self.shift = nn.Parameter(torch.zeros(size))  # (channels, 1, 1), or one for all

    def affine(self) -> tuple[Tensor, Tensor]:
        return self.scale.abs().clamp(min=self.SMALLEST), self.zero_point

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        self.scale.copy_(scale.reshape(()) / 2)
        middle = 0.0 if self.grid.signed else 0.5 - float(zero_point)  # in the steps of before
        self.shift.fill_(2 * middle)

    def shifts(self) -> Tensor:
        """β, in the values of x."""
        return self.shift * self.affine()[0].detach()

    def thresholds_in_use(self) -> Tensor:
        return self.shifts()[None]

    def code_levels(self) -> Tensor:
        scale = self.affine()[0]
        return torch.stack([-scale, scale])

    def fake_quantize(self, x: Tensor) -> Tensor:
        scale = self.affine()[0]
        signs = 2 * count_steps(x, self.thresholds_in_use()) - 1
        if torch.is_grad_enabled():
            inside = clamp_strict((x - self.shifts()) / scale.detach(), -1.0, 1.0)
            signs = straight_through(signs, inside * (2 - inside.abs()))
        return signs * scale
