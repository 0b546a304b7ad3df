"""Learnable lookup tables of activations, LLT (Wang et al. 2022, CVPR, p. 12414).

    x̂ = (table[bin(x / s)] + offset) s        see `workbench.maths.lookup_steps`

The range of each step is cut into K = 9 bins, and one of them is learned as the place where the
code changes: by a softmax over K logits with temperature τ, whose largest is taken in the forward
pass. Outputs are equal steps with a learned scale, for which x̂ has LSQ's gradient: q - u inside,
and the end code beyond. It starts with each step in the middle, as ordinary rounding.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from workbench.foundation.options import Options
from workbench.maths.grid import Grid
from workbench.maths.lookup_steps import first_logits, places, surrogate
from workbench.maths.ste import straight_through
from workbench.quantizers.registry import quantizer
from workbench.quantizers.steps import EvenSteps

BITS = (2, 3, 4, 5)


class LLTOptions(Options):
    """What a person may choose."""

    temperature: Annotated[float, Field(gt=0, le=100, description="τ of the softmax")] = 1.0


@quantizer(
    "llt",
    title="LLT: learned places of the steps",
    citation="Wang et al. 2022, doi:10.1109/CVPR52688.2022.01210",
    options=LLTOptions,
    activations_only=True,
    bits=BITS,
)
class LLT(EvenSteps):
    """Learns for each step at which of nine places between two levels it is taken."""

    called = "llt"
    served = BITS
    absolute = frozenset({"logits"})

    def __init__(
        self, grid: Grid, shape: tuple[int, ...], options: LLTOptions | None = None
    ) -> None:
        super().__init__(grid, shape, options)
        self.temperature = (options or LLTOptions()).temperature
        self.logits = nn.Parameter(first_logits(self.count))  # (steps, candidates)

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        super().set_affine(scale, zero_point)
        self.logits.copy_(first_logits(self.count))

    def thresholds_in_use(self) -> Tensor:
        return (places(self.logits) + self.offset) * self.affine()[0]

    def fake_quantize(self, x: Tensor) -> Tensor:
        scale, codes = self.affine()[0], self.codes(x)
        if torch.is_grad_enabled():
            line = surrogate(x / scale - self.offset, self.logits, self.temperature)
            codes = straight_through(codes, line)
        return (codes + self.offset) * scale
