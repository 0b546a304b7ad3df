"""Logarithmic steps of √2 for probabilities (RepQ-ViT, Li et al. 2023, arXiv:2212.08254, sec. 3.3).

    q = clip(round(-2 log2(x / s)), 0, 2^b),   x̂ = s 2^(-q / 2),   and 0 where q = 2^b

The values behind a softmax follow a power law: most are tiny, and the few large ones decide. Steps
of √2 have a level near each of them; those of 2 are too far apart near 1. As in the authors' code
nothing has a code of its own beyond the 2^b levels, so b bits make 2^b + 1 codes; with 8 bits the
last one, 2^-127.5 s, gives way to it. s is 1, or the range that calibration found.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.grid import Grid
from workbench.quantizers.own_levels import OwnLevels
from workbench.quantizers.registry import quantizer

#: natural logarithm -> steps, in float32 as the file holds it
STEP = float(torch.tensor(-2 / math.log(2)))
LAST = 241  # √2^-241 s, and what is smaller, is nothing


@quantizer(
    "log_sqrt2",
    title="Logarithmic, steps of √2",
    citation="Li et al. 2023, arXiv:2212.08254",
    activations_only=True,
)
class LogSqrt2(OwnLevels):
    """Levels s, s / √2, s / 2 ... and 0."""

    form = "log_sqrt2"

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        self.nothing = min(2**grid.bits, LAST)  # the code of 0

    def set_range(self, low: Tensor, high: Tensor) -> None:
        tiny = torch.finfo(torch.float32).tiny
        self.set_affine(high.clamp(min=tiny), self.zero_point)

    def steps(self, x: Tensor) -> Tensor:
        """-2 log2(x / s), in the very operations that are exported."""
        return torch.log(x.clamp(min=0) / self.scale) * STEP

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        return self.steps(x).round_().clamp_(0, self.nothing)

    def code_levels(self) -> Tensor:
        powers = torch.exp2(torch.arange(self.nothing, dtype=torch.float64) / -2)
        levels = torch.cat([powers, powers.new_zeros(1)]).to(self.scale.device)
        return (levels * self.scale.double()).float()

    @torch.no_grad()
    def tie_distance(self, x: Tensor) -> Tensor:
        steps = self.steps(x)
        return (steps - steps.floor() - 0.5).abs()
