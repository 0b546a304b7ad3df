"""The straight-through estimator, once.

Rounding has derivative zero almost everywhere; the straight-through estimator passes the gradient
as if rounding were the identity (Bengio et al. 2013, arXiv:1308.3432). Clamping keeps its own
gradient: one strictly inside the range, zero outside and on the edge, so that a value on the edge
counts as clipped, as in LSQ (arXiv:1902.08153, eq. 3).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return x.round()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]  # noqa: ARG004
        return gradient


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
        ctx.save_for_backward((x > low) & (x < high))
        return x.clamp(low, high)  # type: ignore[arg-type]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None


def round_ste(x: Tensor) -> Tensor:
    """Round half to even (as torch, numpy and ONNX do); the gradient passes unchanged."""
    return _Round.apply(x)


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """The value of `x` with its gradient multiplied by `factor` (LSQ, arXiv:1902.08153, eq. 4)."""
    return straight_through(x, x * factor)


def clamp_strict(x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """`x` limited to [low, high]; gradient one strictly inside, zero elsewhere.

    Limits that are learned receive the gradient of what they clip.
    """
    if not any(isinstance(limit, Tensor) and limit.requires_grad for limit in (low, high)):
        return _Clamp.apply(x, low, high)
    inside = (x > low) & (x < high)
    return torch.where(inside, x, torch.clamp(x.detach(), low, high))  # type: ignore[arg-type]


def straight_through(value: Tensor, like: Tensor) -> Tensor:
    """`value`, bit for bit, with the gradient of `like` (finite, of the same shape)."""
    return value.detach() + (like - like.detach())
