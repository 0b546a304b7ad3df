"""Learned rounding, the variables of AdaRound (Nagel et al. 2020, arXiv:2004.10568).

    ŵ = s * clip(floor(w / s) + h(V), qmin, qmax)                              (eq. 21, 22)
    h(V) = clip(σ(V)(ζ - γ) + γ, 0, 1),   ζ = 1.1, γ = -0.1                    (eq. 23)

V starts where h(V) is the fractional part of w / s, so that the soft weight equals the float weight
(up to clipping); at the end `hard` keeps round-up where V >= 0. The range must be set before
`start`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.grid import Grid, dequantize, position
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import quantizer

ZETA, GAMMA = 1.1, -0.1


def rectified_sigmoid(v: Tensor) -> Tensor:
    """h(V), eq. 23; exactly 0 and 1 are reached at finite V."""
    return (v.sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def inverse_rectified_sigmoid(h: Tensor) -> Tensor:
    """V with h(V) = h, for h in [0, 1]."""
    return -((ZETA - GAMMA) / (h - GAMMA) - 1).log()


@quantizer(
    "rounding",
    title="AdaRound: learned rounding",
    citation="Nagel et al. 2020, arXiv:2004.10568",
    weights_only=True,
    learns={"v": "rounding"},
)
class Rounding(Quantizer):
    """Learns for each weight whether to round down or up; the scale is fixed."""

    floor: Tensor

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        size = grid.granularity.shape(self.shape)
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("zero_point", torch.zeros(size))
        self.register_buffer("floor", torch.zeros(self.shape))
        self.v = nn.Parameter(torch.zeros(self.shape))

    @torch.no_grad()
    def start(self, weight: Tensor) -> None:
        """Place V so that h(V) is the fractional part of w / s."""
        steps = position(weight, self.scale, self.zero_point, self.grid, self.table())
        self.floor.copy_(steps.floor())
        self.v.copy_(inverse_rectified_sigmoid(steps - steps.floor()))

    def fake_quantize(self, x: Tensor) -> Tensor:
        return self._values(self.floor + rectified_sigmoid(self.v))

    def hard(self) -> Tensor:
        """Integer codes after rounding is decided."""
        return (self.floor + (self.v >= 0)).clamp(self.grid.qmin, self.grid.qmax)

    def codes(self, x: Tensor) -> Tensor:
        return self.hard().detach()

    def _values(self, codes: Tensor) -> Tensor:
        limited = codes.clamp(self.grid.qmin, self.grid.qmax)
        return dequantize(limited, self.scale, self.zero_point, self.grid, self.table())
