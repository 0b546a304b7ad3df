"""Ranges that are learned as shares of a range that was found.

    low = β (qmin - z0) s0,   high = α (qmax - z0) s0
    s = (high - low) / (qmax - qmin),   z = qmin - round(low / s)

written so that α = β = 1 gives s0 and z0 bit for bit. Symmetric grids and tables have one share,
s = α s0. Used by learnable clipping (OmniQuant, arXiv:2308.13137) and AutoRound (arXiv:2309.05516).
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.maths.grid import Grid
from workbench.maths.ste import round_ste


def clipped_affine(
    scale: Tensor, zero_point: Tensor, grid: Grid, high: Tensor, low: Tensor
) -> tuple[Tensor, Tensor]:
    """Scale and zero-point of the clipped range, differentiable in both shares.

    Args:
        scale, zero_point: s0 and z0, of the range found.
        high, low: α and β, of the scale's shape and above 0.
    """
    if grid.symmetric or not grid.uniform:
        return scale * high, zero_point
    above, below = high * (grid.qmax - zero_point), low * (zero_point - grid.qmin)
    share = (above + below) / (grid.qmax - grid.qmin)
    clipped = grid.qmin + round_ste(below / share)
    return scale * share, torch.clamp(clipped, grid.qmin, grid.qmax)
