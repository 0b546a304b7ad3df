"""What every quantizer is: a differentiable fake-quant, and the exact values it will export."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.grid import Grid, affine_range, dequantize, quantize


@dataclass(frozen=True)
class Frozen:
    """Exactly what is exported for one site.

    Attributes:
        grid: bits, sign and granularity.
        scale: float32, shape `grid.granularity.shape(tensor.shape)`.
        zero_point: int32, same shape.
        codes: integer codes (int32, the tensor's shape) of a weight; None for an activation.
    """

    grid: Grid
    scale: Tensor
    zero_point: Tensor
    codes: Tensor | None = None

    def values(self) -> Tensor:
        """The real values that the codes stand for (weights only)."""
        if self.codes is None:
            raise ValueError("an activation site has no stored values")
        return dequantize(self.codes.float(), self.scale, self.zero_point.float(), self.grid)


class Quantizer(nn.Module, ABC):
    """A module on one edge: `forward(x)` returns `x` on the grid, with a useful gradient.

    Subclasses hold `scale` and `zero_point` (parameters or buffers with the shape that the grid's
    granularity gives) and may override `forward` and `codes`. A quantizer is built from the grid
    and the shape of the tensor it will see (0 where a dimension is not known, such as the batch),
    then given a range with `set_range`.

    Attributes:
        enabled: when False the tensor passes untouched (used by diagnosis).
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__()
        self.grid = grid
        self.shape = tuple(shape)
        self.options = options
        self.enabled = True

    def extra_repr(self) -> str:
        """Bits and granularity, for printed models."""
        return self.grid.describe()

    def set_range(self, low: Tensor, high: Tensor) -> None:
        """Cover [low, high] (each of the scale's shape); the usual way to initialise."""
        self.set_affine(*affine_range(low, high, self.grid))

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        """Set scale and zero-point directly."""
        self.scale.copy_(scale.reshape(self.scale.shape))
        self.zero_point.copy_(zero_point.reshape(self.zero_point.shape))

    def affine(self) -> tuple[Tensor, Tensor]:
        """The scale and zero-point in use, differentiable where they are learned."""
        return self.scale, self.zero_point

    def forward(self, x: Tensor) -> Tensor:
        """`x` on the grid (same shape, float)."""
        if not self.enabled:
            return x
        return self.fake_quantize(x)

    @abstractmethod
    def fake_quantize(self, x: Tensor) -> Tensor:
        """The learnable forward; called when enabled."""

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """Integer codes that `x` gets at inference (as floats)."""
        scale, zero_point = self.affine()
        return quantize(x, scale, zero_point, self.grid)

    @torch.no_grad()
    def frozen(self, weight: Tensor | None = None) -> Frozen:
        """What is exported; pass the float weight for a weight site."""
        scale, zero_point = self.affine()
        codes = None if weight is None else self.codes(weight).to(torch.int32)
        return Frozen(
            self.grid,
            scale.detach().float().clone(),
            zero_point.detach().round().to(torch.int32),
            codes,
        )
