"""Fixed codes whose steps are learned, each in proportion to itself.

    ŵ = (q - z) s e^t

The codes q are those that an earlier stage chose, or the nearest ones. t has one value for each
scale and begins at 0, so that channels of very unlike scales move alike: what EfficientQAT trains
end to end once the codes are decided (Chen et al. 2024, arXiv:2407.11062).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.grid import Grid, dequantize
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import quantizer


@quantizer(
    "steps",
    title="Fixed codes, learned steps",
    citation="Chen et al. 2024, arXiv:2407.11062",
    weights_only=True,
    learns={"growth": "weight_scale"},
)
class Steps(Quantizer):
    """Keeps the codes of a weight and learns by which factor each of its steps changes."""

    chosen: Tensor

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        size = grid.granularity.shape(self.shape)
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("zero_point", torch.zeros(size))
        self.register_buffer("chosen", torch.zeros(self.shape))
        self.growth = nn.Parameter(torch.zeros(size))

    @torch.no_grad()
    def start(self, weight: Tensor) -> None:
        """Keep the codes that are nearest to `weight` now."""
        self.chosen.copy_(super().codes(weight))

    def affine(self) -> tuple[Tensor, Tensor]:
        return self.scale * self.growth.exp(), self.zero_point

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        super().set_affine(scale, zero_point)
        self.growth.zero_()

    def fake_quantize(self, x: Tensor) -> Tensor:
        values = dequantize(self.chosen, *self.affine(), self.grid, self.table())
        return values.to(x.dtype)

    def codes(self, x: Tensor) -> Tensor:
        return self.chosen
