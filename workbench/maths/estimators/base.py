"""What a gradient estimator is: rounding and clipping with a derivative that was chosen."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.ste import clamp_strict, round_with_slope


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

    def soft(self, x: Tensor) -> Tensor | None:
        """The function whose derivative stands in for that of rounding; None if there is none."""
        return None


class SoftStaircase(Estimator):
    """Estimators whose gradient is the derivative of a staircase with soft edges.

        soft(x) = i + (φ(x - m_i) + 1) / 2,    i = floor(x),  m_i = i + 1/2

    Codes change at m_i, and φ rises from -1 to 1 over the cell [i, i + 1] around it. The soft
    staircase meets the hard one at every level, so its slope is one on average over each cell.
    """

    @abstractmethod
    def phi(self, u: Tensor) -> Tensor:
        """φ at a distance `u` from the transition, in steps from -1/2 to 1/2."""

    @abstractmethod
    def slope(self, u: Tensor) -> Tensor:
        """Half the derivative of φ, in closed form."""

    def round(self, x: Tensor, steps: int) -> Tensor:
        inner = x.detach()
        return round_with_slope(x, self.slope(inner - inner.floor() - 0.5))

    def soft(self, x: Tensor) -> Tensor:
        i = x.detach().floor()
        return i + (self.phi(x - i - 0.5) + 1) / 2
