"""The affine grid: which values survive quantization, and THE formula that maps onto it.

    codes = clip(round(x / s) + z, qmin, qmax)          quantize
    x̂     = (codes - z) * s                             dequantize

`s` is the scale (step), `z` the zero-point; rounding is half to even as in ONNX QuantizeLinear.
Everything else in the package that quantizes calls the functions of this file. A grid with a level
table has codes that are indices into the table, and no zero-point:

    codes = argmin |x / s - L[codes]|,   x̂ = L[codes] * s     (see `workbench.maths.levels`)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from workbench.foundation.errors import RecipeError
from workbench.maths import levels as tables
from workbench.maths.levels import UNIFORM
from workbench.maths.ste import clamp_strict, round_ste, snap

if TYPE_CHECKING:
    from workbench.maths.estimators.base import Estimator

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
    """A grid of integer codes: uniform steps, or the levels of a table.

    Attributes:
        bits: 1 to 8 for weights, to 16 for activations; 32 is the accumulator of a bias.
        signed: codes run from -2^(bits-1), otherwise from 0.
        symmetric: the zero-point is fixed (0 if signed).
        narrow: leave out the lowest code, so that the grid is the same on both sides.
        granularity: how many values share a scale.
        table: "uniform", or a name in `workbench.maths.levels.TABLES`; codes are then indices from
            0 and the zero-point is 0.
        label: what the codes in use are called where they are not all of the grid's, such as
            "ternary" or "odd2" (odd codes, two bits of information in three).
    """

    bits: int
    signed: bool = True
    symmetric: bool = True
    granularity: Granularity = Granularity()
    narrow: bool = False
    table: str = UNIFORM
    label: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MAX_BITS:
            raise RecipeError(f"bits was '{self.bits}'; choose 1 to 8 (16 for activations)")
        if self.narrow and (self.bits == 1 or not self.signed):
            raise RecipeError("a narrow grid needs to be signed with 2 bits or more; drop 'narrow'")
        if self.table != UNIFORM:
            tables.levels(self.table, self.bits)
            if not self.symmetric or self.narrow:
                raise RecipeError(
                    f"table '{self.table}' has no zero-point and is used whole; drop"
                    " 'symmetric = false' and 'narrow'"
                )

    @property
    def uniform(self) -> bool:
        """Equal steps, and no table."""
        return self.table == UNIFORM

    @property
    def learns_levels(self) -> bool:
        """Each weight has its own table."""
        return not self.uniform and tables.TABLES[self.table].learned

    def levels(self) -> Tensor:
        """The table's sorted levels; where they are learned, what learning starts from."""
        return tables.levels(self.table, self.bits)

    @property
    def qmin(self) -> int:
        """Lowest code."""
        if not self.uniform:
            return 0
        return -(2 ** (self.bits - 1)) + int(self.narrow) if self.signed else 0

    @property
    def qmax(self) -> int:
        """Highest code."""
        if not self.uniform:
            return len(self.levels()) - 1
        return 2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1

    @property
    def per_tensor(self) -> bool:
        """One scale for all values."""
        return self.granularity.kind == "tensor"

    def with_bits(self, bits: int) -> Grid:
        """The same grid with another bit-width."""
        return replace(self, bits=bits)

    def describe(self) -> str:
        """Short words for tables, such as `int4 channel` or `nf4 group`."""
        if self.label:
            return f"{self.label} {self.granularity.kind}"
        kind = ("int" if self.signed else "uint") if self.uniform else self.table
        width = "" if kind[-1].isdigit() or "float8" in kind else str(self.bits)
        return f"{kind}{width} {self.granularity.kind}"


def affine_range(low: Tensor, high: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Scale and zero-point that cover [low, high]; zero is always a level of a uniform grid.

    Symmetric grids use the full range, s = max|x| / ((qmax - qmin) / 2), which is what ONNX Runtime
    and torch use; asymmetric ones s = (high - low) / (qmax - qmin), z = qmin - round(low / s).
    A table's outermost levels cover the range: s = max(high / L[-1], low / L[0]).
    """
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    tiny = torch.finfo(torch.float32).tiny * 2**24
    if not grid.uniform:
        levels = grid.levels()
        scale = torch.maximum(high / float(levels[-1]), low / float(levels[0])).clamp(min=tiny)
        return scale, torch.zeros_like(scale)
    steps = grid.qmax - grid.qmin
    if grid.symmetric and grid.signed:
        scale = (torch.maximum(-low, high) / (steps / 2)).clamp(min=tiny)
        return scale, torch.zeros_like(scale)
    if grid.symmetric:
        return (high / steps).clamp(min=tiny), torch.full_like(high, float(grid.qmin))
    scale = ((high - low) / steps).clamp(min=tiny)
    zero_point = (grid.qmin - (low / scale).round()).clamp(grid.qmin, grid.qmax)
    return scale, zero_point


def over_range(
    scale: Tensor, zero_point: Tensor, before: Grid, after: Grid
) -> tuple[Tensor, Tensor]:
    """Scale and zero-point that put another number of uniform codes over the same ends.

    Example:
        >>> eight, four = Grid(8), Grid(4)
        >>> s, z = over_range(torch.tensor(1.0), torch.tensor(0.0), eight, four)
        >>> float(s), float(z)
        (17.0, 0.0)
    """
    share = (before.qmax - before.qmin) / (after.qmax - after.qmin)
    if after.symmetric:
        return scale * share, torch.full_like(zero_point, 0.0 if after.signed else after.qmin)
    place = (zero_point - before.qmin) / share + after.qmin
    return scale * share, place.round()


def quantize(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    grid: Grid,
    levels: Tensor | None = None,
    estimator: Estimator | None = None,
) -> Tensor:
    """Integer codes of `x` as floats, differentiable through a gradient estimator.

    Clipping before rounding gives the same codes (the bounds are integers) and the gradient mask
    that the literature uses: on x / s, not on its rounded value. Codes of a table are indices and
    have no gradient.

    Args:
        levels: instead of the grid's own table, where it was learned.
        estimator: of the gradient; None is the straight-through one, clipped.
    """
    scale = grid.granularity.expand(scale, x)
    if not grid.uniform:
        return tables.nearest_level(x / scale, _levels(grid, levels, x)).to(x.dtype)
    zero_point = grid.granularity.expand(zero_point, x)
    if not torch.is_grad_enabled():  # the same codes without what only a gradient needs
        return (x / scale).round_().add_(zero_point).clamp_(grid.qmin, grid.qmax)
    low, high = grid.qmin - zero_point, grid.qmax - zero_point
    if estimator is None:
        return round_ste(clamp_strict(x / scale, low, high)) + zero_point
    steps = estimator.clip(x / scale, low, high)
    return estimator.round(steps, grid.qmax - grid.qmin) + zero_point


def dequantize(
    codes: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid, levels: Tensor | None = None
) -> Tensor:
    """Real values of codes; fractional ones lie on the line between two neighbours."""
    scale = grid.granularity.expand(scale, codes)
    if not grid.uniform:
        return tables.interpolate(codes, _levels(grid, levels, scale)) * scale
    zero_point = grid.granularity.expand(zero_point, codes)
    return (codes - zero_point) * scale


def position(
    x: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid, levels: Tensor | None = None
) -> Tensor:
    """The fractional code of `x`, the inverse of `dequantize`; a table's is limited to its ends."""
    scale = grid.granularity.expand(scale, x)
    if not grid.uniform:
        return tables.locate(x / scale, _levels(grid, levels, x))
    return x / scale + grid.granularity.expand(zero_point, x)


def fake_quantize(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    grid: Grid,
    levels: Tensor | None = None,
    estimator: Estimator | None = None,
) -> Tensor:
    """`x` snapped to the grid, in floating point; gradient one inside the range, zero outside.

    An `estimator` may give the gradient another form; on the levels of a table only its clipping
    has a part. A level that was given and is learned receives the gradient of all values that it
    stands for.

    Example:
        >>> grid = Grid(4, signed=False, symmetric=False)
        >>> s, z = affine_range(torch.tensor(-1.0), torch.tensor(3.0), grid)
        >>> float(fake_quantize(torch.tensor(0.5), s, z, grid))
        0.5333333611488342
    """
    if grid.uniform:
        ends = _ends(zero_point, grid) if estimator is None and torch.is_grad_enabled() else None
        if ends is not None:
            return snap(x, grid.granularity.expand(scale, x), *ends)
        codes = quantize(x, scale, zero_point, grid, estimator=estimator)
        return dequantize(codes, scale, zero_point, grid)
    table, scale = _levels(grid, levels, x), grid.granularity.expand(scale, x)
    steps = x / scale
    snapped = table[tables.nearest_level(steps, table)]
    if torch.is_grad_enabled():
        ends = table.detach()
        clip = clamp_strict if estimator is None else estimator.clip
        inside = clip(steps, float(ends[0]), float(ends[-1]))
        snapped = snapped + (inside - inside.detach())
    return snapped * scale


def _ends(zero_point: Tensor, grid: Grid) -> tuple[float, float] | None:
    """Lowest and highest code less the zero-point, where they are two plain numbers."""
    if grid.symmetric and grid.signed:
        return float(grid.qmin), float(grid.qmax)
    if zero_point.requires_grad or zero_point.ndim:
        return None
    place = float(zero_point)
    return grid.qmin - place, grid.qmax - place


def _levels(grid: Grid, learned: Tensor | None, like: Tensor) -> Tensor:
    return (grid.levels() if learned is None else learned).to(like.device)
