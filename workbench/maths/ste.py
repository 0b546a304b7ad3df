"""The straight-through estimator, once.

Rounding has derivative zero almost everywhere; the straight-through estimator passes the gradient
as if rounding were the identity (Bengio et al. 2013, arXiv:1308.3432). Clamping keeps its own
gradient: one strictly inside the range, zero outside and on the edge, so that a value on the edge
counts as clipped, as in LSQ (arXiv:1902.08153, eq. 3).
"""

from __future__ import annotations

import torch
from torch import Tensor


def round_ste(x: Tensor) -> Tensor:
    """Round half to even (as torch, numpy and ONNX do); the gradient passes unchanged."""
    return x + (x.round() - x).detach()


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """The value of `x` with its gradient multiplied by `factor` (LSQ, arXiv:1902.08153, eq. 4)."""
    scaled = x * factor
    return (x - scaled).detach() + scaled


def clamp_strict(x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """`x` limited to [low, high]; gradient one strictly inside, zero elsewhere."""
    inside = (x > low) & (x < high)
    return torch.where(inside, x, torch.clamp(x.detach(), low, high))  # type: ignore[arg-type]
