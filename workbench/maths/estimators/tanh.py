"""The derivative of a tanh around each transition (IR-Net: Qin et al. 2020, arXiv:1909.10788).

    g(u) = tanh(u / T)
    ∂x̂/∂x = g'(u) / (g(1/2) - g(-1/2)) = (1 - tanh²(u / T)) / (2T tanh(1 / (2T)))

u is the distance from where the code changes, in steps. IR-Net takes g(x) = k tanh(t x) with
k = max(1/t, 1) for the sign of a binary weight; here each transition of the grid has its own, with
temperature T = 1/t, and k is chosen so that the slope is one on average over a cell. Learning rates
then mean the same as with the straight-through estimator, which is what T -> ∞ gives. IR-Net lets T
fall during training; here it is fixed.

With that normalisation it is the family of DSQ, with the width of a transition given directly:
T = 1 / ln(2/α - 1) is the same slope, and T above 1 / ln 3 = 0.91 is softer than DSQ allows.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.estimators.base import SoftStaircase
from workbench.maths.estimators.registry import estimator


class TanhOptions(Options):
    """What a person may choose."""

    temperature: Annotated[
        float,
        Field(
            ge=0.02,
            le=10,
            description="Width of a transition, in steps; smaller is steeper.",
        ),
    ] = 0.25


@estimator(
    "tanh",
    title="Derivative of a tanh",
    options=TanhOptions,
    citation="Qin et al. 2020, arXiv:1909.10788",
    data="none of its own",
    cost="none of its own",
    cells=("training/task_loss",),
    strategy="parameters",
    use="1 to 3 bits, to try how narrow a transition may be",
)
class Tanh(SoftStaircase):
    """Passes most of the gradient where codes change, and little on the levels."""

    def __init__(self, options: TanhOptions | None = None) -> None:
        super().__init__(options)
        self.temperature = (options or TanhOptions()).temperature
        self.edge = math.tanh(0.5 / self.temperature)

    def phi(self, u: Tensor) -> Tensor:
        return torch.tanh(u / self.temperature) / self.edge

    def slope(self, u: Tensor) -> Tensor:
        peak = 1 / (2 * self.temperature * self.edge)
        return peak * (1 - torch.tanh(u / self.temperature).square())
