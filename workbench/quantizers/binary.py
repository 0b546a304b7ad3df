"""Binary weights: BinaryConnect (Courbariaux et al. 2015, arXiv:1511.00363), BWN and XNOR-Net
(Rastegari et al. 2016, arXiv:1603.05279).

    ŵ = α sign(w),   sign(0) = 1
    α = E|w| of each scale (BWN, XNOR-Net: the least-squares optimum), or 1 (BinaryConnect)
    ∂L/∂w = ∂L/∂ŵ                           "identity": BinaryConnect, BWN
    ∂L/∂w = ∂L/∂ŵ where |w| < α, else 0     "clipped": the sign's gradient in XNOR-Net, 1[|r| <= 1],
                                            at r = w / α

α follows the weights, anew at every forward. With α = 1 the weights should stay within [-1, 1], to
which BinaryConnect clips them after each step. An estimator takes the place of either gradient.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.few import BINARY, IDENTITY, check_served, mean_magnitude, odd_codes, odd_grid
from workbench.maths.grid import Grid
from workbench.quantizers.from_weight import FromWeight
from workbench.quantizers.registry import quantizer

BITS = (1,)


class BinaryOptions(Options):
    """What a person may choose."""

    scale: Annotated[
        Literal["mean", "none"], Field(description="the weights' mean magnitude, or none: ±1")
    ] = "mean"
    gradient: Annotated[
        Literal["identity", "clipped"], Field(description="of the sign: everywhere, or within ±α")
    ] = "identity"


@quantizer(
    "binary",
    title="Binary weights (BinaryConnect, BWN)",
    options=BinaryOptions,
    citation="Courbariaux et al. 2015, arXiv:1511.00363; Rastegari et al. 2016, arXiv:1603.05279",
    weights_only=True,
    bits=BITS,
)
class Binary(FromWeight):
    """The sign of each weight, times the mean magnitude."""

    def __init__(
        self, grid: Grid, shape: tuple[int, ...], options: BinaryOptions | None = None
    ) -> None:
        super().__init__(grid, shape, options)
        self.chosen = options or BinaryOptions()

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        if grid.label == BINARY:
            return grid
        check_served("binary", grid, BITS)
        return odd_grid(1, grid.granularity)

    def fitted(self, x: Tensor) -> Tensor:
        if self.chosen.scale == "none":
            return torch.ones_like(self.scale)
        return mean_magnitude(x, self.grid.granularity)

    def snapped(self, x: Tensor, scale: Tensor) -> Tensor:
        own = None if self.chosen.gradient == "clipped" else IDENTITY
        return odd_codes(x, scale, self.grid, self.estimator or own)
