"""Weight quantizers that learn a clip for weights of normalised size.

    ŵ = q s,   s = σ(w) α / top              σ: the size of what shares a scale, α: the learned clip
    ∂ŵ/∂w = 1 everywhere,   ∂ŵ/∂α = (ŵ - w) / α for |w| < σα,  else σ sign(w)

σ is worked out anew at every forward and counts as a constant in the gradient. Where a range was
set, α follows from it, so that learning starts there.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.grid import Grid, dequantize
from workbench.maths.ste import clamp_strict, straight_through
from workbench.quantizers.base import Frozen, Quantizer


class Normalised(Quantizer):
    """What such quantizers share.

    Attributes:
        top: the highest code, which α stands for.
        clip: α, of the scale's shape; size: σ at the last forward.
    """

    SMALLEST = 1e-8
    top: float
    size: Tensor

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        size = self.grid.granularity.shape(self.shape)
        self.clip = nn.Parameter(torch.full(size, self.top))
        self.register_buffer("size", torch.ones(size))
        self.register_buffer("zero_point", torch.zeros(size))

    @abstractmethod
    def sizes(self, weight: Tensor) -> Tensor:
        """σ, of the scale's shape."""

    @abstractmethod
    def snapped(self, steps: Tensor) -> Tensor:
        """Codes of w / s, as floats; no gradient is asked for."""

    def prepared(self, x: Tensor) -> Tensor:
        """What is divided by the scale; the weight itself as a rule."""
        return x

    @property
    def alpha(self) -> Tensor:
        """What is learned, kept positive."""
        return self.clip.abs().clamp(min=self.SMALLEST)

    def affine(self) -> tuple[Tensor, Tensor]:
        return self.size * self.alpha / self.top, self.zero_point

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        self.clip.copy_(scale.reshape(self.clip.shape) * self.top / self.size)

    @torch.no_grad()
    def take(self, other: Quantizer) -> None:
        """The range of another quantizer: the outermost levels are where its own are."""
        scale, zero_point = other.affine()
        if other.grid != self.grid:
            reach = (other.grid.qmax - other.grid.qmin) / 2 if other.grid.uniform else 1.0
            scale = scale * reach / self.top
        self.set_affine(scale, zero_point)

    @torch.no_grad()
    def start(self, weight: Tensor) -> None:
        """Take the size of this weight, and keep the range."""
        scale, zero_point = self.affine()
        self._measure(weight)
        self.set_affine(scale, zero_point)

    @torch.no_grad()
    def fit(self, weight: Tensor, calibrator: str) -> None:
        super().fit(weight, calibrator)
        self.start(weight)

    def fake_quantize(self, x: Tensor) -> Tensor:
        self._measure(x)
        scale, zero_point = self.affine()
        codes = self._codes(x, scale)
        if torch.is_grad_enabled():
            steps, wide = self.prepared(x), self.grid.granularity.expand(scale, x)
            inside = clamp_strict(steps.detach() / wide, -self.top, self.top)
            codes = straight_through(codes, steps / wide.detach() + inside)
        return dequantize(codes, scale, zero_point, self.grid)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        self._measure(x)
        return self._codes(x, self.affine()[0])

    def nearest(self, x: Tensor) -> Tensor:
        """The code that belongs to each value."""
        return self.codes(x)

    @torch.no_grad()
    def frozen(self, weight: Tensor | None = None) -> Frozen:
        if weight is not None:
            self._measure(weight)
        return super().frozen(weight)

    @torch.no_grad()
    def _codes(self, x: Tensor, scale: Tensor) -> Tensor:
        return self.snapped(self.prepared(x) / self.grid.granularity.expand(scale, x))

    @torch.no_grad()
    def _measure(self, weight: Tensor) -> None:
        self.size = self.sizes(weight).clamp(min=self.SMALLEST)  # not in place: a graph may hold it
