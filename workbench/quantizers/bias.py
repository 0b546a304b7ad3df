"""Integer biases: the accumulator's grid, from what meets in it (Jacob et al. 2018, eq. 11).

    s_bias = s_input * s_weight,   z_bias = 0,   32 bits

Nothing is learned here: the scale follows the two quantizers whose product the bias is added to,
so that simulation and integer kernels add the very same number.

A channel whose weights are all but zero has a tiny s_weight, and its bias would need more than 32
bits. Such a channel's weight scale is raised until

    |b| / (s_input * s_weight) <= 2^30

which rounds its weights to zero and changes its output by less than 2^-30 |b| for each input code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.grid import Grid, fake_quantize
from workbench.quantizers.base import Quantizer

#: half of what 32 bits hold, so that the accumulator has room beside the bias
MOST_STEPS = 2.0**30


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

    def beside(self, weight: Quantizer) -> Bias:
        """The same bias where another quantizer is on the weight."""
        return Bias(self.grid, self.shape, self._sources[0], weight)

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

    @torch.no_grad()
    def make_room(self, bias: Tensor) -> None:
        """Raise the weight's scales where this float bias, of shape (channels,), would overflow."""
        data, weight = self._sources
        least = bias.abs() / (MOST_STEPS * data.affine()[0])
        weight.coarsen(least.max() if self.grid.per_tensor else least)
