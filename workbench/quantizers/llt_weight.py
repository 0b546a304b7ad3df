"""Learnable lookup tables of weights, LLT (Wang et al. 2022, CVPR, p. 12414).

    ŵ = (table[bin(w / s - q_min)] + q_min) s        see `workbench.maths.lookup_steps`

As for activations (`llt`): the range of each step is cut into K = 9 bins, one of which is learned
as the place where the code changes. All scales of a weight share the table. The file holds codes
and scales alone, as that of any uniform weight does, since codes are chosen before it is written.
It starts with each step in the middle, as ordinary rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.maths.few import check_served
from workbench.maths.grid import Grid, dequantize
from workbench.maths.lookup_steps import first_logits, places, surrogate
from workbench.maths.staircase import count_steps, distance_to_step
from workbench.maths.ste import straight_through
from workbench.quantizers.llt import LLTOptions
from workbench.quantizers.lsq import LSQ
from workbench.quantizers.registry import quantizer

BITS = (2, 3, 4, 5)


@quantizer(
    "llt_weight",
    title="LLT: learned places of the steps, for weights",
    citation="Wang et al. 2022, doi:10.1109/CVPR52688.2022.01210",
    options=LLTOptions,
    weights_only=True,
    bits=BITS,
)
class LLTWeight(LSQ):
    """Learns where weights change their code, and the scale."""

    absolute = frozenset({"logits"})

    def __init__(
        self, grid: Grid, shape: tuple[int, ...], options: LLTOptions | None = None
    ) -> None:
        super().__init__(grid, shape, options)
        self.temperature = (options or LLTOptions()).temperature
        self.logits = nn.Parameter(first_logits(self.grid.qmax - self.grid.qmin))

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        check_served("llt_weight", grid, BITS)
        return grid

    @torch.no_grad()
    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        super().set_affine(scale, zero_point)
        self.logits.copy_(first_logits(len(self.logits)))

    @torch.no_grad()
    def coarsen(self, least: Tensor) -> None:
        scale, zero_point = self.affine()
        super().set_affine(torch.maximum(scale, least).expand_as(scale), zero_point)

    def fake_quantize(self, x: Tensor) -> Tensor:
        scale, zero_point = self.affine()
        codes = self.codes(x)
        if torch.is_grad_enabled():
            line = surrogate(self._from_lowest(x), self.logits, self.temperature)
            codes = straight_through(codes, line)
        return dequantize(codes, scale, zero_point, self.grid)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        return count_steps(self._from_lowest(x), places(self.logits)) + self.grid.qmin

    @torch.no_grad()
    def tie_distance(self, x: Tensor) -> Tensor:
        return distance_to_step(self._from_lowest(x), places(self.logits))

    def _from_lowest(self, x: Tensor) -> Tensor:
        expand = self.grid.granularity.expand
        return x / expand(self.affine()[0], x) + expand(self.zero_point, x) - self.grid.qmin
