"""Differentiable soft quantization, DSQ (Gong et al. 2019, arXiv:1908.05033).

    φ(x) = s tanh(k (x - m_i)),   s = 1 / tanh(kΔ/2) = 1 / (1 - α),   k = ln(2/α - 1) / Δ
    Q_S(x) = l + Δ (i + (φ(x) + 1) / 2)
    ∂x̂/∂x = ∂Q_S/∂x = Δ s k (1 - tanh²(k (x - m_i))) / 2

Values are rounded hard going forward, and the soft staircase Q_S is differentiated going backward.
m_i is where the code changes from i to i + 1, and Δ = 1 here, where values are in steps. The
smaller α, the closer Q_S comes to hard rounding. The paper may also learn α and the range; here α
is fixed, and the range is the quantizer's.
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


class DsqOptions(Options):
    """What a person may choose."""

    alpha: Annotated[
        float,
        Field(
            ge=1e-4,
            le=0.5,
            description="Distance of the soft staircase from the hard one, α; smaller is steeper.",
        ),
    ] = 0.2


@estimator(
    "dsq",
    title="Differentiable soft quantization",
    options=DsqOptions,
    citation="Gong et al. 2019, arXiv:1908.05033",
    data="none of its own",
    cost="none of its own",
    cells=("training/task_loss",),
    strategy="parameters",
    use="4 bits and fewer, trained with plain gradient descent",
)
class Dsq(SoftStaircase):
    """Differentiates a staircase of tanh pieces that meets the levels exactly."""

    def __init__(self, options: DsqOptions | None = None) -> None:
        super().__init__(options)
        alpha = (options or DsqOptions()).alpha
        self.s = 1 / (1 - alpha)
        self.k = math.log(2 / alpha - 1)

    def phi(self, u: Tensor) -> Tensor:
        return self.s * torch.tanh(self.k * u)

    def slope(self, u: Tensor) -> Tensor:
        return self.s * self.k / 2 * (1 - torch.tanh(self.k * u).square())
