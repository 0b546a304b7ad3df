"""Gradients of straight-through rounding, held against finite differences.

With what rounding adds held fixed, and each value kept inside or outside its range, a quantizer is
a smooth function, and the straight-through gradient is its derivative.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from workbench.maths.estimators.base import Estimator
from workbench.quantizers.base import Quantizer

STEP = 1e-6


class FrozenRounding(Estimator):
    """Remembers what rounding and clipping did at its first call, and does the same again."""

    def __init__(self) -> None:
        super().__init__()
        self.added: Tensor | None = None
        self.below = self.above = torch.zeros(())

    def round(self, x: Tensor, steps: int) -> Tensor:
        if self.added is None:
            self.added = (x.round() - x).detach()
        return x + self.added

    def clip(self, x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
        if self.added is None:
            self.below, self.above = x <= low, x >= high
        low, high = torch.as_tensor(low, dtype=x.dtype), torch.as_tensor(high, dtype=x.dtype)
        return torch.where(self.below, low, torch.where(self.above, high, x))


def differences(quantizer: Quantizer, value: Tensor, loss: Callable[[], Tensor]) -> Tensor:
    """Derivative of `loss` by each element of `value`, which is moved in place; float64."""
    quantizer.estimator = FrozenRounding()
    found = torch.zeros_like(value)
    with torch.enable_grad():  # the path that estimators take
        loss()
        flat, out = value.data.view(-1), found.view(-1)
        for index in range(flat.numel()):
            here = float(flat[index])
            sides = []
            for side in (here + STEP, here - STEP):
                flat[index] = side
                sides.append(float(loss().detach()))
            flat[index] = here
            out[index] = (sides[0] - sides[1]) / (2 * STEP)
    quantizer.estimator = None
    return found
