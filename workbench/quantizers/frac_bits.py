"""FracBits: a fractional number of bits (Yang and Jin 2021, arXiv:2007.02017).

    Q_λ(x) = (1 - f) Q_⌊λ⌋(x) + f Q_⌈λ⌉(x),   f = λ - ⌊λ⌋
    ∂L/∂λ  = ⟨∂L/∂Q_λ, Q_⌈λ⌉(x) - Q_⌊λ⌋(x)⟩

All bits share one learned range: the step of b bits is range / (2^b - 1). Where the target has not
every width, ⌊λ⌋ and ⌈λ⌉ are the neighbours that it has, and f the share of the way between them.
At a whole λ the upper neighbour counts, so that there is a gradient too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.maths.grid import Grid
from workbench.maths.ste import clamp_inward
from workbench.quantizers.mixture import Mixture, MixtureOptions
from workbench.quantizers.registry import quantizer


@quantizer(
    "frac_bits",
    title="FracBits: a fractional number of bits",
    options=MixtureOptions,
    citation="Yang and Jin 2021, arXiv:2007.02017",
    weights_only=True,
    searches=True,
)
class FracBits(Mixture):
    """Interpolates between the grids of two neighbouring numbers of bits."""

    kind = "frac_bits"
    absolute = frozenset({"bits"})

    def __init__(
        self, grid: Grid, shape: tuple[int, ...], options: MixtureOptions | None = None
    ) -> None:
        super().__init__(grid, shape, options)
        self.bits = nn.Parameter(torch.tensor(float(grid.bits)))
        self.begin(grid.bits)

    def expected(self) -> Tensor:
        return clamp_inward(self.bits, self.widths[0], self.widths[-1])

    def fraction(self) -> tuple[int, Tensor]:
        """(place of the lower neighbour among the widths, f)."""
        expected = self.expected()
        below = sum(width <= float(expected.detach()) for width in self.widths)
        index = min(below, len(self.widths) - 1) - 1
        low, high = self.widths[index : index + 2]
        return index, (expected - low) / (high - low)

    def shares(self) -> Tensor:
        index, f = self.fraction()
        shares = [f.new_zeros(())] * len(self.widths)
        shares[index], shares[index + 1] = 1 - f, f
        return torch.stack(shares)

    def chosen(self) -> int:
        at = float(self.expected().detach())
        return min(self.widths, key=lambda width: (abs(width - at), width))

    @torch.no_grad()
    def begin(self, bits: float) -> None:
        self.bits.fill_(min(max(bits, self.widths[0]), self.widths[-1]))

    def fake_quantize(self, x: Tensor) -> Tensor:
        index, f = self.fraction()
        lower, upper = (self.on(x, width) for width in self.widths[index : index + 2])
        return (1 - f) * lower + f * upper
