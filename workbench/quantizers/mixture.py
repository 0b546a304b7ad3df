"""What quantizers share whose number of bits is learned: one tensor on several grids at once.

    Q(x) = Σ_b p_b Q_b(x),   Σ_b p_b = 1,   expected bits = Σ_b p_b b
    Q_b has the step  ρ_b (2^B - 1) s / (2^b - 1)

s is the step of the B bits that were asked for, learned as in LSQ, and ρ_b the share of its range
that b bits cover. The mixture is on no grid, so nothing of it is exported: a search ends by putting
a plain quantizer of the chosen bits in its place.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths import few
from workbench.maths.grid import Grid, fake_quantize, over_range
from workbench.maths.ste import scale_gradient
from workbench.quantizers.lsq import LSQ

BITS = tuple(range(1, 9))


def listed(text: str) -> tuple[int, ...]:
    """Numbers of bits from text: "2-8" or "4/8".

    Raises:
        ValueError: they are not two or more rising numbers from 1 to 8.

    Example:
        >>> listed("2-4"), listed("4/8")
        ((2, 3, 4), (4, 8))
    """
    first, dash, last = text.partition("-")
    words = [first, last] if dash else text.split("/")
    numbers = tuple(int(word) if word.isdigit() else 0 for word in words)
    if dash:
        numbers = tuple(range(numbers[0], numbers[1] + 1))
    rising = len(numbers) > 1 and numbers == tuple(sorted(set(numbers)))
    if not rising or not set(numbers) <= set(BITS):
        raise ValueError(f"'{text}' are no bits to choose from; write them as 2-8 or 4/8")
    return numbers


def worded(widths: tuple[int, ...]) -> str:
    """The inverse of `listed`."""
    whole = len(widths) == widths[-1] - widths[0] + 1
    return f"{widths[0]}-{widths[-1]}" if whole else "/".join(map(str, widths))


class MixtureOptions(Options):
    """What a person may choose."""

    widths: Annotated[str, Field(description="bits to choose from: 2-8, or 4/8")] = "2-8"

    @field_validator("widths")
    @classmethod
    def _listed(cls, text: str) -> str:
        listed(text)
        return text


class Mixture(LSQ):
    """Learns how many bits a tensor gets, beside its range.

    Attributes:
        kind: its registered name.
        widths: the numbers of bits to choose from, rising.
    """

    kind: ClassVar[str]

    def __init__(
        self, grid: Grid, shape: tuple[int, ...], options: MixtureOptions | None = None
    ) -> None:
        super().__init__(grid, shape, options)
        self.widths = listed((options or MixtureOptions()).widths)

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        few.check_served(cls.kind, grid, BITS)
        return grid

    @abstractmethod
    def shares(self) -> Tensor:
        """p_b of each width; they sum to 1."""

    @abstractmethod
    def expected(self) -> Tensor:
        """The expected number of bits, a scalar with gradient."""

    @abstractmethod
    def chosen(self) -> int:
        """The width that the choice comes to."""

    def pace(self, rate: float) -> None:
        """Give the choice a learning rate of its own."""
        self.rates = dict.fromkeys(self.absolute, rate)

    def begin(self, bits: float) -> None:
        """Start the choice at a number of bits, where it can be set."""

    def cover(self, bits: int) -> float:
        """ρ_b: how much of the range of the bits asked for `bits` of them cover."""
        return 1.0

    def on(self, x: Tensor, bits: int) -> Tensor:
        """`x` on the grid of so many bits (same shape)."""
        scale, zero_point = self.affine()
        scale = scale_gradient(scale, self.gradient_factor(x))
        grid = self.grid.with_bits(bits)
        scale, zero_point = over_range(scale * self.cover(bits), zero_point, self.grid, grid)
        return fake_quantize(x, scale, zero_point, grid, estimator=self.estimator)

    def fake_quantize(self, x: Tensor) -> Tensor:
        parts = [self.on(x, width) for width in self.widths]
        shares = self.shares().to(x.dtype).reshape(-1, *([1] * x.ndim))
        return (torch.stack(parts) * shares).sum(0)
