"""Branches of bits under a softmax (EdMIPS, Cai and Vasconcelos 2020, arXiv:2004.05795).

    Q(x) = Σ_b p_b Q_b(x),   p = softmax(α),   expected bits = Σ_b p_b b

The quantized tensors are summed and not the layers' outputs, so that one operation serves all
branches and they share their weights. α starts with all branches alike. The paper's steps are the
best ones for a normal distribution; so are these, relative to the learned step of the bits that
were asked for: ρ_b is the ratio of the optimum clips of N(0, 1) at b bits and at those.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.maths.calibrators.aciq import gauss_clip
from workbench.maths.grid import Grid
from workbench.quantizers.mixture import Mixture, MixtureOptions
from workbench.quantizers.registry import quantizer


@quantizer(
    "branch_bits",
    title="Branches of bits under a softmax",
    options=MixtureOptions,
    citation="Cai and Vasconcelos 2020, arXiv:2004.05795",
    weights_only=True,
    searches=True,
)
class BranchBits(Mixture):
    """Weighs the grids of all numbers of bits against each other."""

    kind = "branch_bits"
    absolute = frozenset({"alpha"})

    def __init__(
        self, grid: Grid, shape: tuple[int, ...], options: MixtureOptions | None = None
    ) -> None:
        super().__init__(grid, shape, options)
        self.alpha = nn.Parameter(torch.zeros(len(self.widths)))

    def shares(self) -> Tensor:
        return self.alpha.softmax(0)

    def expected(self) -> Tensor:
        return (self.shares() * self.alpha.new_tensor(self.widths)).sum()

    def chosen(self) -> int:
        return self.widths[int(self.alpha.detach().argmax())]

    def cover(self, bits: int) -> float:
        return gauss_clip(bits) / gauss_clip(self.grid.bits)
