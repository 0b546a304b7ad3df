"""The plain straight-through estimator (Hinton 2012; Bengio et al. 2013, arXiv:1308.3432).

    ∂x̂/∂x = 1 everywhere

Rounding and clipping both count as the identity, so that a value beyond the range can still be
drawn back into it. A step that is learned is not told of what it clips:

    ∂x̂/∂s = x̂/s - x/s outside the range too, instead of the outermost codes

Under a squared error, (x̂ - x)^2, that derivative only ever shrinks the step; hold the range fixed
while this estimator is in use, or take the clipped one.
"""

from __future__ import annotations

from torch import Tensor

from workbench.maths.estimators.base import Estimator
from workbench.maths.estimators.registry import estimator
from workbench.maths.ste import clamp_ste, round_ste


@estimator(
    "ste",
    title="Straight-through",
    citation="Bengio et al. 2013, arXiv:1308.3432",
    data="none of its own",
    cost="none of its own",
    cells=("training/task_loss",),
    strategy="parameters",
    use="ranges that stay fixed, where clipped values should still learn",
)
class Ste(Estimator):
    """Passes the gradient everywhere, also for values that are clipped."""

    def round(self, x: Tensor, steps: int) -> Tensor:
        return round_ste(x)

    def clip(self, x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
        return clamp_ste(x, low, high)

    def soft(self, x: Tensor) -> Tensor:
        return x
