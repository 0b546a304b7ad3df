"""Learned step size quantization, LSQ (Esser et al. 2020, arXiv:1902.08153).

    v̂ = round(clip(v / s, -Qn, Qp)) * s                                     (eq. 1, 2)
    ∂v̂/∂s = round(v/s) - v/s inside the range, -Qn below, Qp above            (eq. 3)
    the gradient of s is multiplied by g = 1 / sqrt(N * Qp)                   (sec. 2.2)

N is the number of values that share one scale: the whole tensor, or one channel or group of it.
Activations are counted without their batch axis, as "features" in the paper.
The scale is kept positive by learning its absolute value; initialised by calibration, or by the
paper's 2 E|v| / sqrt(Qp) with `init_from`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.grid import Grid, fake_quantize
from workbench.maths.ste import scale_gradient
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import quantizer


@quantizer("lsq", title="LSQ: learned step size", citation="Esser et al. 2020, arXiv:1902.08153")
class LSQ(Quantizer):
    """Learns the step by gradient, together with the weights it quantizes."""

    SMALLEST = 1e-8

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        size = grid.granularity.shape(self.shape)
        self.scale = nn.Parameter(torch.ones(size))
        self.register_buffer("zero_point", torch.zeros(size))

    def affine(self) -> tuple[Tensor, Tensor]:
        return self.scale.abs().clamp(min=self.SMALLEST), self.zero_point

    def fake_quantize(self, x: Tensor) -> Tensor:
        scale, zero_point = self.affine()
        scale = scale_gradient(scale, self.gradient_factor(x))
        return fake_quantize(x, scale, zero_point, self.grid, self.table(), self.estimator)

    def gradient_factor(self, x: Tensor) -> float:
        """g = 1 / sqrt(N * Qp), with Qp = 1 where the grid has no positive code."""
        shared = x.numel() / max(1, self.scale.numel())
        if self.shape and self.shape[0] == 0:  # an activation: the batch axis is not a feature
            shared /= x.shape[0]
        return 1.0 / math.sqrt(shared * max(1, self.grid.qmax))

    @torch.no_grad()
    def init_from(self, x: Tensor) -> None:
        """The paper's initial step, 2 E|v| / sqrt(Qp), for each scale."""
        rows = self.grid.granularity.rows(x)
        step = 2 * rows.abs().mean(dim=1) / math.sqrt(max(1, self.grid.qmax))
        self.set_affine(self.grid.granularity.unrows(step, x.shape), torch.zeros_like(step))
