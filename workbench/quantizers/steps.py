"""Staircases: any sorted thresholds, and a level above each of them.

    q = Σ_i [x >= T_i],   x̂ = L[q]           n thresholds, n + 1 levels, n <= 31

What activation quantizers with learned thresholds or levels leave behind, whichever they are: it is
written with standard comparisons (see `workbench.deploy.own_levels`). A value on a threshold is
above it. Thresholds may differ by channel: their first axis counts them, and the others are
broadcast against the last axes of `x`, so `(n, channels, 1, 1)` serves pictures.

Where all levels are whole multiples of the scale, integer kernels can follow. By itself this
quantizer learns nothing, and passes the straight-through gradient between its outer levels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from workbench.foundation.errors import RecipeError
from workbench.foundation.options import Options
from workbench.maths.grid import Grid
from workbench.maths.staircase import count_steps, distance_to_step
from workbench.quantizers.base import Frozen, Quantizer
from workbench.quantizers.own_levels import OwnLevels
from workbench.quantizers.registry import quantizer

FORM = "steps"
MOST_STEPS = 31
MOST_PLACE = 255
BITS = (1, 2, 3, 4, 5)


class Staircase(OwnLevels):
    """What such quantizers share; each gives its thresholds, its levels and a gradient.

    Attributes:
        offset: the lowest level of the grid that was asked for, in its steps.
        served: bits that may be asked of it.
    """

    form = FORM
    called = FORM
    served: ClassVar[tuple[int, ...]] = BITS
    offset: Tensor

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        self.register_buffer("offset", torch.tensor(float(grid.qmin)))

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        if grid.bits not in cls.served:
            known = " or ".join(f"'{bits}'" for bits in cls.served)
            raise RecipeError(
                f"quantizer '{cls.called}' does not serve the grid '{grid.describe()}', since it"
                f" has no levels of '{grid.bits}' bits; ask for {known}, or put 'lsq' there"
            )
        return grid

    @abstractmethod
    def thresholds_in_use(self) -> Tensor:
        """Sorted, `(n,)` or `(n, ...)`; see `count_steps`."""

    def affine(self) -> tuple[Tensor, Tensor]:
        """The step, and the zero-point as the grid counts it."""
        return self.scale, self.grid.qmin - self.offset

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        """Begin as the uniform quantizer with this scale and zero-point."""
        self.scale.copy_(scale.reshape(()))
        self.offset.copy_(self.grid.qmin - zero_point.reshape(()))

    @torch.no_grad()
    def take(self, other: Quantizer) -> None:
        """Begin as another quantizer: as it is if of the same kind, else with equal steps."""
        if type(other) is type(self) and other.grid == self.grid:
            self.load_state_dict(other.state_dict())
        else:
            self.set_affine(*other.affine())

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        return count_steps(x, self.thresholds_in_use())

    @torch.no_grad()
    def tie_distance(self, x: Tensor) -> Tensor:
        return distance_to_step(x, self.thresholds_in_use()) / self.affine()[0]

    @torch.no_grad()
    def frozen(self, weight: Tensor | None = None) -> Frozen:
        if weight is not None:
            raise RecipeError(f"quantizer '{self.called}' holds activations only; use 'uniform'")
        levels = self.code_levels().detach().float().clone()
        scale = self.affine()[0].detach().float().clone()
        thresholds = self.thresholds_in_use().detach().float().clone()
        held = {"thresholds": thresholds, "scale": scale, **_held_levels(levels, scale)}
        zero = self.zero_point.to(torch.int32)
        return Frozen(self.grid, scale, zero, None, levels, self.form, held)


@quantizer(
    FORM,
    title="Staircase, fixed",
    citation="Jacob et al. 2018, arXiv:1712.05877",
    activations_only=True,
    bits=BITS,
)
class Steps(Staircase):
    """Fixed thresholds and levels, such as an exported file has."""

    either = frozenset({"levels", "offset", "places"})
    thresholds: Tensor

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        del self.levels, self.offset
        count = 2**grid.bits - 1
        self.register_buffer("thresholds", torch.arange(count) + 0.5)
        self.register_buffer("levels", torch.arange(count + 1.0))

    @torch.no_grad()
    def set_steps(self, thresholds: Tensor, levels: Tensor, scale: Tensor | None = None) -> None:
        """Take these thresholds `(n, ...)` and levels `(n + 1,)`.

        Raises:
            RecipeError: other numbers of them, more than 31, or not in order.
        """
        count = len(thresholds) if thresholds.ndim else 0
        steps = thresholds.diff(dim=0) if count else thresholds
        orderly = bool((steps >= 0).all()) and bool((levels.diff() > 0).all())
        if not 1 <= count <= MOST_STEPS or levels.shape != (count + 1,) or not orderly:
            raise RecipeError(
                f"'{count}' thresholds and '{levels.numel()}' levels are no staircase; give up to"
                f" '{MOST_STEPS}' thresholds and one level more, both in order"
            )
        self.thresholds, self.levels = thresholds.float().clone(), levels.float().clone()
        step = (levels[-1] - levels[0]) / count if scale is None else scale
        self.scale.copy_(step.reshape(()))

    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        steps = torch.arange(2**self.grid.bits, device=self.scale.device)
        lowest, scale = self.grid.qmin - zero_point.reshape(()), scale.reshape(())
        self.set_steps((steps[1:] - 0.5 + lowest) * scale, (steps + lowest) * scale, scale)

    def affine(self) -> tuple[Tensor, Tensor]:
        return self.scale, self.grid.qmin - (self.code_levels()[0] / self.scale).round()

    def thresholds_in_use(self) -> Tensor:
        return self.thresholds

    def code_levels(self) -> Tensor:
        assert self.levels is not None
        return self.levels

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As ever, for any number of thresholds; also what `frozen` holds."""
        state = dict(state_dict)
        if "levels" not in state and {"thresholds", "scale", "offset"} <= set(state):
            every = torch.arange(sum(state["thresholds"].shape[:1]) + 1)
            places = state.pop("places", every) - state.pop("offset")
            state["levels"] = places.to(state["scale"]) * state["scale"]
        if {"thresholds", "levels"} <= set(state):
            self.set_steps(state["thresholds"], state["levels"])
        return super().load_state_dict(state, strict, assign)


def _held_levels(levels: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """The levels; or bytes where they are (places - offset) s, without places if 0, 1, ..."""
    steps = (levels / scale).round()
    offset = (-steps[0]).clamp(min=0)
    places = steps + offset
    fits = float(torch.maximum(offset, places[-1])) <= MOST_PLACE
    if not fits or not torch.equal(steps * scale, levels):
        return {"levels": levels}
    held = {"offset": offset.to(torch.int32)}
    if not torch.equal(places, torch.arange(len(places)).to(places)):
        held["places"] = places.to(torch.int32)
    return held


class EvenSteps(Staircase):
    """Learned thresholds above equal steps, whose scale is learned too: L_k = (k + offset) s."""

    SMALLEST = 1e-8

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        del self.scale
        self.scale = torch.nn.Parameter(torch.ones(()))

    @property
    def count(self) -> int:
        """Of the thresholds."""
        return 2**self.grid.bits - 1

    def affine(self) -> tuple[Tensor, Tensor]:
        return self.scale.abs().clamp(min=self.SMALLEST), self.grid.qmin - self.offset

    def code_levels(self) -> Tensor:
        codes = torch.arange(self.count + 1, device=self.scale.device)
        return (codes + self.offset) * self.affine()[0]
