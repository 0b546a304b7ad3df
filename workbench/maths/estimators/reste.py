"""The rectified straight-through estimator, ReSTE (Wu et al. 2023, arXiv:2308.06689).

    f(x) = sign(x) |x|^(1/o)                     in place of sign(x)
    f'(x) = |x|^((1-o)/o) / o                    for |x| > m
    f'(x) = f(m) / m = m^((1-o)/o)               for |x| <= m, where the power has no limit

With o = 1 this is the straight-through estimator, and as o grows f comes nearer to the sign: a
smaller estimating error for a less stable gradient. Near zero the slope is that of the chord to
f(m), so f remains continuous.

The paper is for binary values -1 and 1; here each transition between two levels is one such pair.
With u the distance from the transition in steps, x = 2u lies between -1 and 1 over the cell, where
f(2u) goes from one level to the next, and ∂x̂/∂x = f'(2u), one on average. The paper's outer limit,
|x| <= 1.5, has no counterpart inside a cell; clipping takes its place. The paper raises o from 1 to
3 during training; here it is fixed.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.estimators.base import SoftStaircase
from workbench.maths.estimators.registry import estimator


class ResteOptions(Options):
    """What a person may choose."""

    power: Annotated[
        float,
        Field(ge=1, le=10, description="Of the root, o; larger is nearer to hard rounding."),
    ] = 3.0
    threshold: Annotated[
        float,
        Field(
            ge=1e-3,
            le=1,
            description="Half-width of the even slope around a transition, m, in half steps.",
        ),
    ] = 0.1


@estimator(
    "reste",
    title="Rectified straight-through",
    options=ResteOptions,
    citation="Wu et al. 2023, arXiv:2308.06689",
    data="none of its own",
    cost="none of its own",
    cells=("training/task_loss",),
    strategy="parameters",
    use="1 bit, and other grids of few levels",
)
class Reste(SoftStaircase):
    """Differentiates a root around each transition, with its peak cut to a chord."""

    def __init__(self, options: ResteOptions | None = None) -> None:
        super().__init__(options)
        chosen = options or ResteOptions()
        self.o, self.m = chosen.power, chosen.threshold

    def phi(self, u: Tensor) -> Tensor:
        x = 2 * u
        size = x.abs().clamp(min=self.m)  # the root has no finite slope at 0
        return torch.where(x.abs() > self.m, x.sign() * size ** (1 / self.o), x * self.chord)

    def slope(self, u: Tensor) -> Tensor:
        size = (2 * u).abs()
        root = size.clamp(min=self.m) ** ((1 - self.o) / self.o) / self.o
        return torch.where(size > self.m, root, self.chord)

    @property
    def chord(self) -> float:
        """f(m) / m, the slope at the transition."""
        return self.m ** ((1 - self.o) / self.o)
