"""What every quantizer is: a differentiable fake-quant, and the exact values it will export."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from workbench.foundation.errors import RecipeError
from workbench.foundation.options import Options
from workbench.maths.grid import Grid, affine_range, dequantize, quantize
from workbench.maths.ranges import weight_range

if TYPE_CHECKING:
    from workbench.maths.estimators.base import Estimator


@dataclass(frozen=True)
class Frozen:
    """Exactly what is exported for one site.

    Attributes:
        grid: bits, sign and granularity.
        scale: float32, shape `grid.granularity.shape(tensor.shape)`.
        zero_point: int32, same shape.
        codes: integer codes (int32, the tensor's shape) of a weight; None for an activation.
        levels: the table that codes are indices into (float32); None on a uniform grid.
        form: registered name of the quantizer of an activation with levels of its own, else "";
            held: the tensors that such a quantizer is made of, by name.
    """

    grid: Grid
    scale: Tensor
    zero_point: Tensor
    codes: Tensor | None = None
    levels: Tensor | None = None
    form: str = ""
    held: Mapping[str, Tensor] = field(default_factory=dict)

    def values(self) -> Tensor:
        """The real values that the codes stand for (weights only)."""
        if self.codes is None:
            raise ValueError("an activation site has no stored values")
        zero_point = self.zero_point.float()
        return dequantize(self.codes.float(), self.scale, zero_point, self.grid, self.levels)


def uniform_only(grid: Grid, name: str) -> Grid:
    """The grid, for quantizers whose levels are equal steps.

    Raises:
        RecipeError: the grid has a table.
    """
    if not grid.uniform:
        raise RecipeError(
            f"quantizer '{name}' has equal steps and does not serve the table '{grid.table}'; use"
            " quantizer 'table' there"
        )
    return grid


class Quantizer(nn.Module, ABC):
    """A module on one edge: `forward(x)` returns `x` on the grid, with a useful gradient.

    Subclasses hold `scale` and `zero_point` (parameters or buffers with the shape that the grid's
    granularity gives) and may override `forward` and `codes`. A quantizer is built from the grid
    and the shape of the tensor it will see (0 where a dimension is not known, such as the batch),
    then given a range with `set_range`.

    Attributes:
        asked: the grid that was asked for.
        grid: the one that codes lie on, which `own_grid` makes of `asked`.
        enabled: when False the tensor passes untouched (used by diagnosis).
        estimator: of the gradient through rounding; None is the clipped straight-through one.
        levels: the table of a grid that has one, else None; stored only where it is learned.
        form: name of those whose levels are neither equal steps nor a table of the grid, else "".
        absolute: names of parameters whose learning rate is not a share of their own size, such as
            logarithms.
        rates: learning rates of parameters that have one of their own, by name.
        penalty: λ of λ Σ p² over the parameters p, which training adds to its loss; usually 0.
    """

    form: ClassVar[str] = ""
    absolute: ClassVar[frozenset[str]] = frozenset()
    penalty: float = 0.0
    scale: Tensor
    zero_point: Tensor
    levels: Tensor | None

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__()
        self.asked = grid
        self.grid = grid = self.own_grid(grid)
        self.shape = tuple(shape)
        self.options = options
        self.enabled = True
        self.estimator: Estimator | None = None
        self.rates: dict[str, float] = {}
        table = None if grid.uniform else grid.levels().clone()
        self.register_buffer("levels", table, persistent=grid.learns_levels)

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        """The grid of the codes, made of the one that was asked for; usually the same.

        Raises:
            RecipeError: this quantizer does not serve such a grid.
        """
        return grid

    def extra_repr(self) -> str:
        """Bits and granularity, for printed models."""
        return self.grid.describe()

    def set_range(self, low: Tensor, high: Tensor) -> None:
        """Cover [low, high] (each of the scale's shape); the usual way to initialise."""
        self.set_affine(*affine_range(low, high, self.grid))

    def fit(self, weight: Tensor, calibrator: str) -> None:
        """Cover a weight, with a range that the named calibrator finds."""
        self.set_range(*weight_range(weight, self.grid, calibrator))

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        """Set scale and zero-point directly."""
        self.scale.copy_(scale.reshape(self.scale.shape))
        self.zero_point.copy_(zero_point.reshape(self.zero_point.shape))

    @torch.no_grad()
    def take(self, other: Quantizer) -> None:
        """Start with the scale, zero-point and levels of another quantizer of the same grid."""
        self.set_affine(*other.affine())
        levels = other.table()
        if self.levels is not None and levels is not None:
            self.levels.copy_(levels)

    @torch.no_grad()
    def coarsen(self, least: Tensor) -> None:
        """Raise every scale that is below `least` (broadcastable to the scale) to it."""
        scale, zero_point = self.affine()
        if bool((scale < least).any()):
            self.set_affine(torch.maximum(scale, least).expand_as(scale), zero_point)

    @torch.no_grad()
    def reach(self) -> Tensor:
        """The largest magnitude that the range covers, of the scale's shape.

        On symmetric grids the inverse of `set_range`, which covers half a step beyond the codes.
        """
        (scale, zero_point), grid, levels = self.affine(), self.grid, self.table()
        if levels is not None:
            return scale * levels.abs().max()
        if grid.symmetric and grid.signed:
            return scale * (grid.qmax - grid.qmin) / 2
        return scale * torch.maximum(grid.qmax - zero_point, zero_point - grid.qmin)

    def table(self) -> Tensor | None:
        """The levels in use, sorted and differentiable where learned; None on a uniform grid."""
        return self.levels

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
        return quantize(x, *self.affine(), self.grid, self.table())

    @torch.no_grad()
    def nearest(self, x: Tensor) -> Tensor:
        """Codes of plain rounding at the range in use, before learning moves any of them."""
        return quantize(x, *self.affine(), self.grid, self.table())

    @torch.no_grad()
    def tie_distance(self, x: Tensor) -> Tensor:
        """How far, in steps, each value lies from where its code changes; `x`'s shape."""
        steps = x / self.grid.granularity.expand(self.affine()[0], x)
        return (steps - steps.floor() - 0.5).abs()

    @torch.no_grad()
    def frozen(self, weight: Tensor | None = None) -> Frozen:
        """What is exported; pass the float weight for a weight site."""
        scale, zero_point = self.affine()
        codes = None if weight is None else self.codes(weight).to(torch.int32)
        levels = self.table()
        return Frozen(
            self.grid,
            scale.detach().float().clone(),
            zero_point.detach().round().to(torch.int32),
            codes,
            None if levels is None else levels.detach().float().clone(),
        )
