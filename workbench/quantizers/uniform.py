"""Uniform affine quantization with a fixed range (Jacob et al. 2018, arXiv:1712.05877).

    x̂ = (clip(round(x / s) + z, qmin, qmax) - z) * s

The range comes from a calibrator; nothing is learned by gradient. Weights still receive the
straight-through gradient, so it also serves as the plainest quantizer for training.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.grid import Grid, fake_quantize
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import quantizer


@quantizer(
    "uniform",
    title="Uniform, fixed range",
    citation="Jacob et al. 2018, arXiv:1712.05877",
)
class Uniform(Quantizer):
    """Rounds to the nearest level of a range that calibration found."""

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        size = grid.granularity.shape(self.shape)
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("zero_point", torch.zeros(size))

    def fake_quantize(self, x: Tensor) -> Tensor:
        return fake_quantize(
            x, self.scale, self.zero_point, self.grid, self.table(), self.estimator
        )
