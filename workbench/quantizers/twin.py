"""Two uniform ladders in one code (PTQ4ViT, Yuan et al. 2022, arXiv:2111.12293, sec. 3.2).

    q = clip(round(x / Δ1) + z1, 0, h - 1)  for x < c,   clip(round(x / Δ2) + z2, h, 2h - 1)  else
    x̂ = (q - z1) Δ1  for q < h,   (q - z2) Δ2  else,     h = 2^(b - 1)

Behind a softmax Δ1 covers the many small values and Δ2 reaches up to 1; behind a GELU Δ1 covers the
narrow negative part and Δ2 the positive one. Each value belongs to one ladder alone. In the paper
the border is the end of the lower one, h Δ1, and what lies between it and Δ2 / 2 falls to 0; here
it is c, half way between the highest level below and the lowest above, so that each value goes to
its nearest level. Codes follow the values: z2 leaves out the r levels of the upper ladder that lie
below the border, and what they save goes into finer steps. Behind a softmax that reaches up to M

    Δ1 = Δ2 / 2^m,   Δ2 = M / (h - 1 + r),   r = ⌊(h - 1) / 2^m⌋ + 1

which is the paper's Δ2 = 1 / h for m >= b - 1, and one uniform ladder for m = 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.grid import Grid
from workbench.quantizers.own_levels import OwnLevels
from workbench.quantizers.registry import quantizer

SHIFT = 3  # m before anything is searched
TINY = torch.finfo(torch.float32).tiny * 2**24


@quantizer(
    "twin",
    title="Twin uniform",
    citation="Yuan et al. 2022, arXiv:2111.12293",
    activations_only=True,
)
class Twin(OwnLevels):
    """Fine steps where most values are, wide ones where the large values are.

    Attributes:
        side: h, how many codes a ladder has.
        scale: Δ2; high_zero: z2; low_scale: Δ1; low_zero: z1, which is h where there are negative
            values and 0 otherwise; border: c.
    """

    form = "twin"
    high_zero: Tensor
    low_scale: Tensor
    low_zero: Tensor
    border: Tensor

    def __init__(self, grid: Grid, shape: tuple[int, ...], options: Options | None = None) -> None:
        super().__init__(grid, shape, options)
        self.side = 2 ** (grid.bits - 1)
        for name in ("high_zero", "low_scale", "low_zero", "border"):
            self.register_buffer(name, torch.zeros(()))
        self.set_steps(0.125, 1.0, negative=False)

    @property
    def negative(self) -> bool:
        """The lower ladder holds the negative values."""
        return bool(self.low_zero > 0)

    def set_range(self, low: Tensor, high: Tensor) -> None:
        if float(low) < 0:
            steps = float(-low) / self.side, float(high) / max(1, self.side - 1)
            self.set_steps(*(max(step, TINY) for step in steps), negative=True)
        else:
            self.set_shift(float(high), SHIFT)

    def set_shift(self, high: float, shift: int) -> None:
        """No negative values; up to `high`, with Δ1 = Δ2 / 2^shift."""
        missed = (self.side - 1) // 2**shift + 1
        step = max(high / (self.side - 1 + missed), TINY)
        self.set_steps(step / 2**shift, step, negative=False)

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        """Δ2, with Δ1 in the same proportion as before."""
        ratio = float(self.low_scale) / float(self.scale)
        self.set_steps(ratio * float(scale), float(scale), negative=self.negative)

    @torch.no_grad()
    def set_steps(self, low: float, high: float, *, negative: bool) -> None:
        """Set Δ1 and Δ2; zero-points and border follow."""
        self.scale.fill_(high)
        self.low_scale.fill_(low)
        self.low_zero.fill_(self.side if negative else 0)
        end = (self.side - 1 - self.low_zero) * self.low_scale  # highest level below the border
        first = 0.0 if negative else float((end / self.scale).floor()) + 1
        self.high_zero.fill_(self.side - first)
        self.border.copy_((end + first * self.scale) / 2)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        low = ((x / self.low_scale).round_() + self.low_zero).clamp_(0, self.side - 1)
        high = ((x / self.scale).round_() + self.high_zero).clamp_(self.side, 2 * self.side - 1)
        return torch.where(x < self.border, low, high)

    def code_levels(self) -> Tensor:
        codes = torch.arange(2 * self.side, device=self.scale.device)
        low, high = codes[: self.side], codes[self.side :]
        return torch.cat(
            [(low - self.low_zero) * self.low_scale, (high - self.high_zero) * self.scale]
        )

    @torch.no_grad()
    def tie_distance(self, x: Tensor) -> Tensor:
        steps = x / torch.where(x < self.border, self.low_scale, self.scale)
        to_border = (x - self.border).abs() / self.low_scale
        return torch.minimum((steps - steps.floor() - 0.5).abs(), to_border)
