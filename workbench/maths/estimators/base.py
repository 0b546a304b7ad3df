"""What a gradient estimator is: rounding and clipping with a derivative that was chosen."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.ste import clamp_strict


class Estimator(ABC):
    """Rounds and clips as every quantizer does; estimators differ in what goes backwards.

    Values are in steps: neighbouring levels are 1 apart, and codes change at halves.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options

    @abstractmethod
    def round(self, x: Tensor, steps: int) -> Tensor:
        """`x` rounded half to even, with the surrogate's gradient.

        Args:
            x: values in steps, any shape, already clipped.
            steps: between the lowest and the highest level of the grid.
        """

    def clip(self, x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
        """`x` limited to [low, high]; by default without a gradient on the ends and beyond."""
        return clamp_strict(x, low, high)
