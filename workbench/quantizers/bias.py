"""Integer biases: the accumulator's grid, from what meets in it (Jacob et al. 2018, eq. 11).

    s_bias = s_input * s_weight,   z_bias = 0,   32 bits

Nothing is learned here: the scale follows the two quantizers whose product the bias is added to,
so that simulation and integer kernels add the very same number.
"""

from __future__ import annotations

from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.grid import Grid, fake_quantize
from workbench.quantizers.base import Quantizer


class Bias(Quantizer):
    """Rounds a bias to the accumulator's step."""

    def __init__(
        self, grid: Grid, shape: tuple[int, ...], data: Quantizer, weight: Quantizer
    ) -> None:
        super().__init__(grid, shape, Options())
        self.follow(data, weight)

    def follow(self, data: Quantizer, weight: Quantizer) -> None:
        """Take the scale from these two quantizers from now on."""
        self._sources = (data, weight)  # a tuple, so that they are not registered twice

    def affine(self) -> tuple[Tensor, Tensor]:
        data, weight = self._sources
        scale = (data.affine()[0] * weight.affine()[0]).reshape(
            () if self.grid.per_tensor else (-1,)
        )
        return scale, scale.new_zeros(scale.shape)

    def fake_quantize(self, x: Tensor) -> Tensor:
        data, weight = self._sources
        if not (data.enabled and weight.enabled):
            return x
        return fake_quantize(x, *self.affine(), self.grid)
