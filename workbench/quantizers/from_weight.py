"""Scales that are worked out from the weight: anew at every forward, so nothing of them is learned.

    s = max(f(W), least)

`least` is the smallest positive number of use, or what `coarsen` has asked for. The scale counts as
a constant in the gradient. Between forwards the last one is kept, for biases to follow.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.grid import Grid, dequantize
from workbench.quantizers.base import Frozen, Quantizer


class FromWeight(Quantizer):
    """What quantizers share whose scale is a function of the weight."""

    SMALLEST = 1e-8
    least: Tensor

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        size = self.grid.granularity.shape(self.shape)
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("zero_point", torch.zeros(size))
        self.register_buffer("least", torch.full(size, self.SMALLEST))

    @abstractmethod
    def fitted(self, x: Tensor) -> Tensor:
        """f(W), of the scale's shape."""

    @abstractmethod
    def snapped(self, x: Tensor, scale: Tensor) -> Tensor:
        """Codes of `x`, differentiable."""

    def fake_quantize(self, x: Tensor) -> Tensor:
        self.start(x)
        return dequantize(self.snapped(x, self.scale), self.scale, self.zero_point, self.grid)

    def start(self, weight: Tensor) -> None:
        """Take the scale of this weight."""
        self.scale = self._of(weight)  # not in place, since a graph may hold the last one

    def fit(self, weight: Tensor, calibrator: str) -> None:
        """The scale of this weight; the calibrator is not asked."""
        self.start(weight)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        return self.snapped(x, self._of(x))

    def nearest(self, x: Tensor) -> Tensor:
        return self.codes(x)

    def frozen(self, weight: Tensor | None = None) -> Frozen:
        if weight is not None:
            self.start(weight)
        return super().frozen(weight)

    @torch.no_grad()
    def coarsen(self, least: Tensor) -> None:
        self.least = torch.maximum(self.least, least)
        self.scale = torch.maximum(self.scale, self.least)

    @torch.no_grad()
    def _of(self, x: Tensor) -> Tensor:
        return torch.maximum(self.fitted(x), self.least)
