"""A quantizer that is another site's: tensors on both sides of a pool or a Concat have one scale.

Nothing is held here: what is read, set or learned is the leader's, so the sites cannot drift apart.
Each site still has its own switch.
"""

from __future__ import annotations

from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.grid import Grid
from workbench.quantizers.base import Quantizer


class Shared(Quantizer):
    """Quantizes with the scale and zero-point of its leader."""

    def __init__(self, grid: Grid, shape: tuple[int, ...], leader: Quantizer) -> None:
        super().__init__(grid, shape, Options())
        self.follow(leader)

    def follow(self, leader: Quantizer) -> None:
        """Take everything from this quantizer from now on."""
        self._leader = (leader,)  # a tuple, so that it is not registered twice

    def affine(self) -> tuple[Tensor, Tensor]:
        return self._leader[0].affine()

    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        self._leader[0].set_affine(scale, zero_point)

    def fake_quantize(self, x: Tensor) -> Tensor:
        return self._leader[0].fake_quantize(x)

    def codes(self, x: Tensor) -> Tensor:
        return self._leader[0].codes(x)
