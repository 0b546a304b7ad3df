"""Activations whose levels are not equal steps: what such quantizers have in common.

Their codes are not an affine function of the value, so ONNX has no single operator for them: each
kind is written as a few standard nodes (see `workbench.deploy.own_levels`), and what reads it
computes in float. A target says at each site whether it takes them (`Site.own_levels`).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from workbench.foundation.errors import RecipeError
from workbench.foundation.options import Options
from workbench.maths.grid import Grid
from workbench.maths.ste import clamp_strict
from workbench.quantizers.base import Frozen, Quantizer

MOST_BITS = 8


class OwnLevels(Quantizer):
    """Codes from 0 in order of the values or against it, and one level for each.

    Subclasses name themselves in `form`, hold what they export as buffers, and give `codes`,
    `code_levels` and `tie_distance`. The zero-point has no meaning here and is 0.

    Attributes:
        called: the registered name, where the form has another.
        either: names of tensors of which a file holds only some.

    Raises:
        RecipeError: more than 8 bits, a table, or more than one scale.
    """

    called: ClassVar[str] = ""
    either: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        if grid.bits > MOST_BITS or not grid.uniform or not grid.per_tensor:
            raise RecipeError(
                f"quantizer '{self.called or self.form}' does not serve the grid"
                f" '{grid.describe()}'; use up to {MOST_BITS} bits, one scale and table 'uniform'"
            )
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("zero_point", torch.zeros(()), persistent=False)

    @abstractmethod
    def code_levels(self) -> Tensor:
        """The value of each code, float32 `(codes,)`."""

    def table(self) -> Tensor:
        """The levels as shares of the scale, sorted."""
        return (self.code_levels() / self.scale).sort().values

    def fake_quantize(self, x: Tensor) -> Tensor:
        levels = self.code_levels()
        snapped = levels[self.codes(x).long()].to(x.dtype)
        if not torch.is_grad_enabled():
            return snapped
        inside = clamp_strict(x, float(levels.min()), float(levels.max()))
        return snapped + (inside - inside.detach())

    @torch.no_grad()
    def frozen(self, weight: Tensor | None = None) -> Frozen:
        if weight is not None:
            raise RecipeError(f"quantizer '{self.form}' holds activations only; use 'uniform'")
        held = {key: value.detach().clone() for key, value in self.state_dict().items()}
        zero = self.zero_point.to(torch.int32)
        levels = self.code_levels()
        return Frozen(self.grid, self.scale.clone(), zero, None, levels, self.form, held)
