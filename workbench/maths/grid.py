"""The affine grid: which values survive quantization, and THE formula that maps onto it.

    codes = clip(round(x / s) + z, qmin, qmax)          quantize
    x̂     = (codes - z) * s                             dequantize

`s` is the scale (step), `z` the zero-point; rounding is half to even as in ONNX QuantizeLinear.
Everything else in the package that quantizes uniformly calls the functions of this file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from workbench.foundation.errors import RecipeError
from workbench.maths.ste import clamp_strict, round_ste

Kind = Literal["tensor", "channel", "group"]
MAX_BITS = 32


@dataclass(frozen=True)
class Granularity:
    """How many values share one scale.

    Attributes:
        kind: one scale for the whole "tensor", one per index of `axis` ("channel"), or one per run
            of `size` consecutive values along `axis` ("group", ONNX's blocked quantization).
        axis: the channel axis, or the axis along which groups run; unused for "tensor".
        size: values per group; 0 unless kind is "group".

    Scale shapes for a weight of shape (out, in): tensor `()`, channel(0) `(out,)`,
    group(axis 1, 32) `(out, ceil(in / 32))`.
    """

    kind: Kind = "tensor"
    axis: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        if self.kind == "group" and self.size < 1:
            raise RecipeError(f"a group needs a size of at least 1, not '{self.size}'; try 32")
        if self.kind != "group" and self.size:
            raise RecipeError(f"size '{self.size}' belongs to groups only; drop it or use a group")

    def shape(self, of: torch.Size | tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the scale for a tensor of shape `of`."""
        if self.kind == "tensor":
            return ()
        if self.kind == "channel":
            return (of[self.axis],)
        blocks = -(-of[self.axis] // self.size)
        return (*of[: self.axis], blocks, *of[self.axis + 1 :])

    def expand(self, parameter: Tensor, like: Tensor) -> Tensor:
        """`parameter` (scale or zero-point) made broadcastable against `like`."""
        if self.kind == "tensor" or parameter.ndim == 0:
            return parameter
        if self.kind == "channel":
            shape = [1] * like.ndim
            shape[self.axis] = -1
            return parameter.reshape(shape)
        wide = parameter.repeat_interleave(self.size, dim=self.axis)
        return wide.narrow(self.axis, 0, like.shape[self.axis])

    def rows(self, x: Tensor) -> Tensor:
        """`x` as (number of scales, values per scale); short last groups are padded with zeros."""
        if self.kind == "tensor":
            return x.reshape(1, -1)
        if self.kind == "channel":
            return x.movedim(self.axis, 0).reshape(x.shape[self.axis], -1)
        short = -x.shape[self.axis] % self.size
        moved = torch.nn.functional.pad(x.movedim(self.axis, -1), (0, short))
        return moved.reshape(*moved.shape[:-1], -1, self.size).flatten(0, -2)

    def unrows(self, parameter: Tensor, of: torch.Size | tuple[int, ...]) -> Tensor:
        """A value per row of `rows` back in the shape that `shape(of)` promises."""
        if self.kind != "group":
            return parameter.reshape(self.shape(of))
        others = [*of[: self.axis], *of[self.axis + 1 :]]
        return parameter.reshape(*others, -1).movedim(-1, self.axis)


@dataclass(frozen=True)
class Grid:
    """A uniform grid of integer codes.

    Attributes:
        bits: 1 to 8 for weights, to 16 for activations; 32 is the accumulator of a bias.
        signed: codes run from -2^(bits-1), otherwise from 0.
        symmetric: the zero-point is fixed (0 if signed).
        narrow: leave out the lowest code, so that the grid is the same on both sides.
        granularity: how many values share a scale.
    """

    bits: int
    signed: bool = True
    symmetric: bool = True
    granularity: Granularity = Granularity()
    narrow: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MAX_BITS:
            raise RecipeError(f"bits was '{self.bits}'; choose 1 to 8 (16 for activations)")
        if self.narrow and (self.bits == 1 or not self.signed):
            raise RecipeError("a narrow grid needs to be signed with 2 bits or more; drop 'narrow'")

    @property
    def qmin(self) -> int:
        """Lowest code."""
        return -(2 ** (self.bits - 1)) + int(self.narrow) if self.signed else 0

    @property
    def qmax(self) -> int:
        """Highest code."""
        return 2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1

    @property
    def per_tensor(self) -> bool:
        """One scale for all values."""
        return self.granularity.kind == "tensor"

    def with_bits(self, bits: int) -> Grid:
        """The same grid with another bit-width."""
        return replace(self, bits=bits)

    def describe(self) -> str:
        """Short words for tables, such as `int4 channel`."""
        return f"{'int' if self.signed else 'uint'}{self.bits} {self.granularity.kind}"


def affine_range(low: Tensor, high: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Scale and zero-point that cover [low, high]; zero is always a level.

    Symmetric grids use the full range, s = max|x| / ((qmax - qmin) / 2), which is what ONNX Runtime
    and torch use; asymmetric ones s = (high - low) / (qmax - qmin), z = qmin - round(low / s).
    """
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    steps = grid.qmax - grid.qmin
    tiny = torch.finfo(torch.float32).tiny * 2**24
    if grid.symmetric and grid.signed:
        scale = (torch.maximum(-low, high) / (steps / 2)).clamp(min=tiny)
        return scale, torch.zeros_like(scale)
    if grid.symmetric:
        return (high / steps).clamp(min=tiny), torch.full_like(high, float(grid.qmin))
    scale = ((high - low) / steps).clamp(min=tiny)
    zero_point = (grid.qmin - (low / scale).round()).clamp(grid.qmin, grid.qmax)
    return scale, zero_point


def quantize(x: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid) -> Tensor:
    """Integer codes of `x` as floats, differentiable through the straight-through estimator.

    Clipping before rounding gives the same codes (the bounds are integers) and the gradient mask
    that the literature uses: on x / s, not on its rounded value.
    """
    scale = grid.granularity.expand(scale, x)
    zero_point = grid.granularity.expand(zero_point, x)
    if not torch.is_grad_enabled():  # the same codes without what only a gradient needs
        return (x / scale).round_().add_(zero_point).clamp_(grid.qmin, grid.qmax)
    steps = clamp_strict(x / scale, grid.qmin - zero_point, grid.qmax - zero_point)
    return round_ste(steps) + zero_point


def dequantize(codes: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid) -> Tensor:
    """Real values of integer codes."""
    scale = grid.granularity.expand(scale, codes)
    zero_point = grid.granularity.expand(zero_point, codes)
    return (codes - zero_point) * scale


def fake_quantize(x: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid) -> Tensor:
    """`x` snapped to the grid, in floating point; gradient one inside the range, zero outside.

    Example:
        >>> grid = Grid(4, signed=False, symmetric=False)
        >>> s, z = affine_range(torch.tensor(-1.0), torch.tensor(3.0), grid)
        >>> float(fake_quantize(torch.tensor(0.5), s, z, grid))
        0.5333333611488342
    """
    return dequantize(quantize(x, scale, zero_point, grid), scale, zero_point, grid)
