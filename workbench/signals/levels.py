"""The levels that training weights round to, for signals that pull the weights towards them.

A quantizer that first changes the weights themselves (standardises or squeezes them) has no such
level for each: it is registered with `projects=False` and left out.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from workbench.maths.grid import dequantize
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import QUANTIZERS
from workbench.signals.base import Trained


def projected(weights: Iterable[Trained]) -> list[Trained]:
    """Those whose quantizer takes each weight to a level of its own grid."""
    others = {entry.make for entry in QUANTIZERS if not entry.facts.get("projects", True)}
    return [own for own in weights if type(own.quantizer) not in others]


@torch.no_grad()
def levels_of(codes: Tensor, quantizer: Quantizer) -> Tensor:
    """The values that codes of a weight's shape stand for now, without gradient."""
    return dequantize(codes, *quantizer.affine(), quantizer.grid, quantizer.table())


@torch.no_grad()
def outermost(like: Tensor, quantizer: Quantizer) -> tuple[Tensor, Tensor]:
    """The lowest and the highest level for each weight."""
    grid = quantizer.grid
    ends = (like.new_tensor(float(code)).expand(like.shape) for code in (grid.qmin, grid.qmax))
    low, high = (levels_of(codes, quantizer) for codes in ends)
    return low, high
