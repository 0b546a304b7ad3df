"""Additive powers of two for weights, APoT (Li et al. 2020, openreview BkgXT24tDS).

    ŵ = α Π(clip(w̃ / α, ±1)),   w̃ = w / σ                       Π: the nearest level    (eq. 4, 8)
    levels ±Σ_i p_i over their largest, p_i of {0, 2^-i, 2^-(i+n), ...}                  (eq. 5)
    ∂ŵ/∂α = sign(w̃) for |w̃| >= α, else Π(w̃/α) - w̃/α          RCF                       (eq. 7)
    ∂ŵ/∂w̃ = 1, beyond α as well, as in the authors' code

σ is the deviation of what shares a scale. ŵ is multiplied by it again, so that a network which is
trained already stays what it is. The paper also takes the mean away and leaves it out, which is for
networks trained with it from the start (`centre`).

All levels are whole multiples of the least term: up to ±4, ±10, ±48 and ±100 for 3 to 6 bits. These
are the codes, with σα over the largest as the scale, so the file is an ordinary one of up to 8 bits
and integer kernels read it. Two bits are -1, 0 and 1, as in the authors' code.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.few import check_served
from workbench.maths.grid import Granularity, Grid
from workbench.maths.levels import apot_multiples, nearest_level
from workbench.quantizers.normalised import Normalised
from workbench.quantizers.registry import quantizer

BITS = (2, 3, 4, 5, 6)
LABEL = "apot"


class APoTOptions(Options):
    """What a person may choose."""

    centre: Annotated[
        bool, Field(description="take the mean of each scale's weights away, as in the paper")
    ] = False


@quantizer(
    "apot_weight",
    title="APoT: sums of powers of two",
    citation="Li et al. 2020, openreview BkgXT24tDS",
    options=APoTOptions,
    weights_only=True,
    projects=False,
    bits=BITS,
)
class APoTWeight(Normalised):
    """Levels that lie closer together near zero, with a learned clip."""

    def __init__(
        self, grid: Grid, shape: tuple[int, ...], options: APoTOptions | None = None
    ) -> None:
        own = self.own_grid(grid)
        multiples = apot_multiples(int(own.label.removeprefix(LABEL)) - 1)
        self.top = float(multiples[-1])
        self.centre = (options or APoTOptions()).centre
        super().__init__(grid, shape, options)
        self.register_buffer("multiples", multiples.float(), persistent=False)

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        if any(grid == _grid(bits, grid) for bits in BITS):
            return grid
        check_served("apot_weight", grid, BITS)
        return _grid(grid.bits, grid)

    def sizes(self, weight: Tensor) -> Tensor:
        granularity = self.grid.granularity
        middle = granularity.expand(_mean(weight, granularity), weight)
        return _mean((weight - middle).square(), granularity).sqrt()

    def prepared(self, x: Tensor) -> Tensor:
        if not self.centre:
            return x
        granularity = self.grid.granularity
        return x - granularity.expand(_mean(x.detach(), granularity), x)

    def snapped(self, steps: Tensor) -> Tensor:
        multiples: Tensor = self.multiples  # type: ignore[assignment]
        return multiples[nearest_level(steps.abs(), multiples)] * steps.sign()

    @torch.no_grad()
    def tie_distance(self, x: Tensor) -> Tensor:
        multiples: Tensor = self.multiples  # type: ignore[assignment]
        steps = self.prepared(x) / self.grid.granularity.expand(self.affine()[0], x)
        middles = (multiples[1:] + multiples[:-1]) / 2
        return (steps.abs()[..., None] - middles).abs().amin(-1)


def _mean(x: Tensor, granularity: Granularity) -> Tensor:
    """Of the values that share a scale; short last groups count their own."""
    counts = granularity.rows(torch.ones_like(x)).sum(1)
    return granularity.unrows(granularity.rows(x).sum(1) / counts, x.shape)


def _grid(bits: int, like: Grid) -> Grid:
    """The signed grid that holds the multiples of `bits` bits."""
    width = int(apot_multiples(bits - 1)[-1]).bit_length() + 1
    return Grid(width, granularity=like.granularity, narrow=True, label=f"{LABEL}{bits}")
