"""Fixed integer codes: what rounding methods leave behind.

    ŵ = (q - z) * s

The codes q were chosen by a learner (Gram-space rounding, AdaRound, GPTQ ...) and are no longer a
function of the float weight; the scale stays a parameter so that later stages may tune it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.grid import Grid, dequantize
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import quantizer


@quantizer("codes", title="Fixed codes", weights_only=True)
class Codes(Quantizer):
    """Holds the integer codes that a rounding method chose for one weight."""

    chosen: Tensor

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        size = grid.granularity.shape(self.shape)
        self.scale = nn.Parameter(torch.ones(size))
        self.register_buffer("zero_point", torch.zeros(size))
        self.register_buffer("chosen", torch.zeros(self.shape))

    @torch.no_grad()
    def set_codes(self, codes: Tensor) -> None:
        """Keep these integer codes (the weight's shape), limited to the grid."""
        self.chosen.copy_(codes.clamp(self.grid.qmin, self.grid.qmax))

    def fake_quantize(self, x: Tensor) -> Tensor:
        values = dequantize(self.chosen, self.scale, self.zero_point, self.grid, self.table())
        return values.to(x.dtype)

    @torch.no_grad()
    def coarsen(self, least: Tensor) -> None:
        values = dequantize(self.chosen, self.scale, self.zero_point, self.grid, self.table())
        super().coarsen(least)
        self.set_codes(super().codes(values))

    def codes(self, x: Tensor) -> Tensor:
        return self.chosen
