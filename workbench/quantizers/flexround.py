"""FlexRound: rounding by element-wise division (Lee et al. 2023, arXiv:2306.00317).

    ŵ = s1 round(w / (s1 S2 s3 s4)),   s1 = s exp(δ1), S2 = exp(δ2), s3 = exp(δ3), s4 = exp(δ4)

s is the calibrated step; S2 has the weight's shape, s3 and s4 have one value for each index of its
first and second axis. With every δ zero this is rounding to nearest, bit for bit. The gradient of a
divisor is proportional to the weight it divides, so large weights, which matter more, may move
further, by more than one code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.grid import Grid, fake_quantize, quantize
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import quantizer


@quantizer(
    "flexround",
    title="FlexRound: learned division",
    citation="Lee et al. 2023, arXiv:2306.00317",
    weights_only=True,
    learns={"delta1": "weight_scale", "delta2": "rounding", "delta3": "rounding",
            "delta4": "rounding"},
)  # fmt: skip
class FlexRound(Quantizer):
    """Learns for each weight by what it is divided before it is rounded."""

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        size = grid.granularity.shape(self.shape)
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("zero_point", torch.zeros(size))
        self.delta1 = nn.Parameter(torch.zeros(size))
        self.delta2 = nn.Parameter(torch.zeros(self.shape))
        self.delta3 = nn.Parameter(torch.zeros(_along(self.shape, 0)))
        self.delta4 = nn.Parameter(torch.zeros(_along(self.shape, 1)))

    @torch.no_grad()
    def start(self, weight: Tensor) -> None:
        """Begin at rounding to nearest."""
        for delta in (self.delta2, self.delta3, self.delta4):
            delta.zero_()

    def affine(self) -> tuple[Tensor, Tensor]:
        return self.scale * self.delta1.exp(), self.zero_point

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        super().set_affine(scale, zero_point)
        self.delta1.zero_()

    def fake_quantize(self, x: Tensor) -> Tensor:
        return fake_quantize(self._divided(x), *self.affine(), self.grid, self.table())

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        return quantize(self._divided(x), *self.affine(), self.grid, self.table())

    def _divided(self, x: Tensor) -> Tensor:
        return x * (-(self.delta2 + self.delta3 + self.delta4)).exp()


def _along(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """One value for each index of an axis, broadcastable against `shape`."""
    return tuple(size if index == axis else 1 for index, size in enumerate(shape))
