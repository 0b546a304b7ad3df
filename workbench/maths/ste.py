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


class _RoundWithSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return x.round()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (slope,) = ctx.saved_tensors
        return gradient * slope, None


class _ClampSte(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:  # noqa: ARG004
        return x.clamp(low, high)  # type: ignore[arg-type]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]  # noqa: ARG004
        return gradient, None, None


class _Snap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: float, high: float) -> Tensor:
        steps = x / scale
        values = steps.clamp(low, high).round_().mul_(scale)
        ctx.save_for_backward(steps, values, scale)
        ctx.ends = low, high
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None, None]:  # type: ignore[override]
        steps, values, scale = ctx.saved_tensors
        inside = torch.ops.aten.hardtanh_backward(gradient, steps, *ctx.ends)
        if not ctx.needs_input_grad[1]:
            return inside, None, None, None
        if scale.numel() == 1:
            own = torch.dot(gradient.flatten(), values.flatten()) / scale.flatten()[0]
            own = (own - torch.dot(inside.flatten(), steps.flatten())).reshape(scale.shape)
        else:
            codes = values / scale
            own = (gradient * codes).addcmul_(inside, steps, value=-1).sum_to_size(scale.shape)
        return inside, own, None, None


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float | Tensor) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient * ctx.factor, None


class _ClampInward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.ends = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        low, high = ctx.ends
        outward = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
        return gradient.masked_fill(outward, 0.0), None, None


def snap(x: Tensor, scale: Tensor, low: float, high: float) -> Tensor:
    """`clip(round(x / s), low, high) s` in one piece, which takes a third of the time.

    Inside the range ∂/∂x = 1 and ∂/∂s = round(x / s) - x / s; outside 0 and the end it is clipped
    to, as in LSQ (arXiv:1902.08153, eq. 3).

    Args:
        x: any shape; scale: broadcastable to it.
        low, high: whole numbers, less the zero-point.
    """
    return _Snap.apply(x, scale, low, high)


def round_ste(x: Tensor) -> Tensor:
    """Round half to even (as torch, numpy and ONNX do); the gradient passes unchanged."""
    return _Round.apply(x)


def round_with_slope(x: Tensor, slope: Tensor) -> Tensor:
    """Round half to even; the gradient is multiplied by `slope` (of `x`'s shape, a constant)."""
    return _RoundWithSlope.apply(x, slope.detach())


def clamp_ste(x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """`x` limited to [low, high]; the gradient passes unchanged, and the limits receive none."""
    return _ClampSte.apply(x, low, high)


def clamp_inward(x: Tensor, low: float, high: float) -> Tensor:
    """`x` limited to [low, high]; on the ends and beyond, only a gradient that leads back passes.

    So descent neither drifts away from an end nor is caught there.
    """
    return _ClampInward.apply(x, low, high)


def straight_through(value: Tensor, like: Tensor) -> Tensor:
    """`value`, bit for bit, with the gradient of `like` (finite, of the same shape)."""
    return value.detach() + (like - like.detach())


def scale_gradient(x: Tensor, factor: float | Tensor) -> Tensor:
    """The value of `x` with its gradient multiplied by `factor` (LSQ, arXiv:1902.08153, eq. 4).

    A factor that is a tensor is a constant, of `x`'s shape or one number.
    """
    return _ScaleGradient.apply(x, factor)


def clamp_strict(x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """`x` limited to [low, high]; gradient one strictly inside, zero elsewhere.

    Limits that are learned receive the gradient of what they clip.
    """
    if not any(isinstance(limit, Tensor) and limit.requires_grad for limit in (low, high)):
        return _Clamp.apply(x, low, high)
    inside = (x > low) & (x < high)
    return torch.where(inside, x, torch.clamp(x.detach(), low, high))  # type: ignore[arg-type]
