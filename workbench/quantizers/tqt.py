"""Trained quantization thresholds, TQT (Jain et al. 2020, arXiv:1903.08066).

    s = 2^ceil(log2 t) / 2^(b-1)  signed,   / 2^b  unsigned                   (eq. 4)
    q = s clip(round(x / s), n, p)
    ∂q/∂log2 t = s ln 2 (round(x/s) - x/s inside the range, n below, p above) (eq. 7)

Steps are powers of two, exactly, so that hardware shifts where it would multiply. The threshold is
learned as its logarithm, which makes the gradient independent of its size; it is rounded up, with
the straight-through gradient, so that nothing that calibration covered is clipped at the start.
Rounding up may double a step; the paper lets training find out.

The paper's grids have no zero-point. On others, the zero-point that calibration found stays.
Without `power_of_two` only the logarithm is left.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.grid import Grid, affine_range, fake_quantize
from workbench.maths.ste import straight_through
from workbench.quantizers.base import Quantizer, uniform_only
from workbench.quantizers.registry import quantizer

SMALLEST = 2.0**-100


class TQTOptions(Options):
    """Options of trained thresholds."""

    power_of_two: Annotated[bool, Field(description="round steps up to powers of two")] = True


@quantizer(
    "tqt",
    title="TQT: trained thresholds, steps of 2^k",
    citation="Jain et al. 2020, arXiv:1903.08066",
    options=TQTOptions,
)
class TQT(Quantizer):
    """Learns the logarithm of the largest value; steps are powers of two."""

    absolute: ClassVar[frozenset[str]] = frozenset({"log2_t"})
    power_of_two: Tensor

    def __init__(
        self, grid: Grid, shape: tuple[int, ...], options: TQTOptions | None = None
    ) -> None:
        super().__init__(grid, shape, options)
        size = grid.granularity.shape(self.shape)
        self.log2_t = nn.Parameter(torch.zeros(size))
        self.register_buffer("zero_point", torch.zeros(size))
        chosen = (options or TQTOptions()).power_of_two
        self.register_buffer("power_of_two", torch.tensor(chosen))  # so that it is stored

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        return uniform_only(grid, "tqt")

    @property
    def _shift(self) -> int:
        """log2 t - log2 s."""
        return self.grid.bits - int(self.grid.signed)

    def affine(self) -> tuple[Tensor, Tensor]:
        exponent = torch.where(self.power_of_two, self.log2_t.ceil(), self.log2_t)
        exponent = straight_through(exponent, self.log2_t)
        return torch.exp2(exponent - self._shift), self.zero_point

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        exponent = scale.clamp(min=SMALLEST).log2() + self._shift
        self.log2_t.copy_(exponent.reshape(self.log2_t.shape))
        self.zero_point.copy_(zero_point.reshape(self.zero_point.shape))

    @torch.no_grad()
    def set_range(self, low: Tensor, high: Tensor) -> None:
        self._cover(*affine_range(low, high, self.grid))

    @torch.no_grad()
    def take(self, other: Quantizer) -> None:
        if isinstance(other, TQT):
            super().take(other)
        else:
            self._cover(*other.affine())

    def _cover(self, scale: Tensor, zero_point: Tensor) -> None:
        """A range of qmax - qmin steps, which are a few less than the 2^b that t stands for.

        Otherwise a largest value of 2^k would be rounded up to 2^(k+1).
        """
        share = (self.grid.qmax - self.grid.qmin) / 2**self.grid.bits
        self.set_affine(torch.where(self.power_of_two, scale * share, scale), zero_point)

    def fake_quantize(self, x: Tensor) -> Tensor:
        return fake_quantize(x, *self.affine(), self.grid, None, self.estimator)
