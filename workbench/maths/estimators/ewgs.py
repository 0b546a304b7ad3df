"""Element-wise gradient scaling, EWGS (Lee et al. 2021, arXiv:2104.00903).

    g_n = g_q (1 + δ sign(g_q) (x_n - x_q))

g_q is the gradient that arrives at the rounded value x_q, g_n what is passed on to x_n, before
rounding. Both values are shares of the range, so that their difference in steps is divided by the
number of steps. Descent moves x_n against the gradient: where that leads across its own level, the
longer way to another one, the gradient is enlarged, and where it leads away from the level it is
reduced. With δ = 0 this is the straight-through estimator.

The paper also derives δ from the Hessian's trace and renews it each epoch; here it is fixed, as in
the constant variant of the authors' experiments. What is passed depends on the sign of what
arrives, so it is the derivative of no function.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.estimators.base import Estimator
from workbench.maths.estimators.registry import estimator


class EwgsOptions(Options):
    """What a person may choose."""

    delta: Annotated[
        float, Field(ge=0, le=2, description="Strength of the scaling, δ; 0 is straight-through.")
    ] = 1e-3  # above 2 the factor of a one-bit grid could become negative


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, delta: float, steps: int) -> Tensor:
        rounded = x.round()
        ctx.save_for_backward((x - rounded) * (delta / steps))
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (scaled,) = ctx.saved_tensors  # δ (x_n - x_q)
        return gradient * (1 + gradient.sign() * scaled), None, None


@estimator(
    "ewgs",
    title="Element-wise gradient scaling",
    options=EwgsOptions,
    citation="Lee et al. 2021, arXiv:2104.00903",
    data="none of its own",
    cost="none of its own",
    cells=("training/task_loss",),
    strategy="parameters",
    use="3 bits and fewer, trained with plain gradient descent",
)
class Ewgs(Estimator):
    """Scales each gradient by how far its value is from the level, and on which side."""

    def __init__(self, options: EwgsOptions | None = None) -> None:
        super().__init__(options)
        self.delta = (options or EwgsOptions()).delta

    def round(self, x: Tensor, steps: int) -> Tensor:
        return _Round.apply(x, self.delta, steps)
