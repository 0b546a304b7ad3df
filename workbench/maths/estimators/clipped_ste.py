"""The clipped straight-through estimator (Bengio et al. 2013, arXiv:1308.3432).

    ∂x̂/∂x = 1 strictly inside the range, 0 on its ends and beyond

What most of the literature means by STE, and what every quantizer here does unless told otherwise.
"""

from __future__ import annotations

from torch import Tensor

from workbench.maths.estimators.base import Estimator
from workbench.maths.estimators.registry import estimator
from workbench.maths.ste import round_ste


@estimator(
    "clipped_ste",
    title="Clipped straight-through",
    citation="Bengio et al. 2013, arXiv:1308.3432",
    data="none of its own",
    cost="none of its own",
    cells=("training/task_loss",),
    strategy="parameters",
    use="the first choice, and the one for steps that are learned",
)
class ClippedSte(Estimator):
    """Passes the gradient inside the range, and stops it outside."""

    def round(self, x: Tensor, steps: int) -> Tensor:
        return round_ste(x)

    def soft(self, x: Tensor) -> Tensor:
        return x
