"""Binary weights of ReActNet (Liu et al. 2020, arXiv:2003.03488).

    ŵ = α sign(w),   α = E|w| of each scale,   sign(0) = 1
    ∂ŵ/∂w = 1[|w| < 1]                      "clipped": that of the paper for weights
    ∂ŵ/∂w = 2 - 2|w| for |w| < 1, else 0    "quadratic": the derivative of Bi-Real Net's polynomial,
                                            F(w) = 2w - w|w|, which the paper has for activations

Weights are meant as they are, not divided by α, so that few are beyond 1. α follows the weights
and is a constant in the gradient. Zero counts as positive, unlike in the authors' code. An
estimator takes the place of either gradient.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.few import BINARY, IDENTITY, check_served, mean_magnitude, odd_codes, odd_grid
from workbench.maths.grid import Grid
from workbench.maths.ste import clamp_strict
from workbench.quantizers.from_weight import FromWeight
from workbench.quantizers.registry import quantizer

BITS = (1,)


class ReactSignOptions(Options):
    """What a person may choose."""

    surrogate: Annotated[
        Literal["clipped", "quadratic"], Field(description="whose derivative the sign takes")
    ] = "clipped"


@quantizer(
    "react_sign",
    title="ReActNet: binary weights with a surrogate",
    options=ReactSignOptions,
    citation="Liu et al. 2020, arXiv:2003.03488",
    weights_only=True,
    bits=BITS,
)
class ReactSign(FromWeight):
    """The sign of each weight, times the mean magnitude; large weights receive no gradient."""

    def __init__(
        self, grid: Grid, shape: tuple[int, ...], options: ReactSignOptions | None = None
    ) -> None:
        super().__init__(grid, shape, options)
        self.quadratic = (options or ReactSignOptions()).surrogate == "quadratic"

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        if grid.label == BINARY:
            return grid
        check_served("react_sign", grid, BITS)
        return odd_grid(1, grid.granularity)

    def fitted(self, x: Tensor) -> Tensor:
        return mean_magnitude(x, self.grid.granularity)

    def snapped(self, x: Tensor, scale: Tensor) -> Tensor:
        if self.estimator is not None:
            return odd_codes(x, scale, self.grid, self.estimator)
        near = clamp_strict(x, -1.0, 1.0)  # of the same sign as x, as is F
        return odd_codes(
            near * (2 - near.abs()) if self.quadratic else near, scale, self.grid, IDENTITY
        )
