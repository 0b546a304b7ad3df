"""Staircases: codes that count thresholds, and the lines that stand in for them backwards.

    q(x) = Σ_i [x >= T_i]                                   thresholds T sorted along the first axis
    l(x) = h_i + (h_{i+1} - h_i) (x - k_i) / (k_{i+1} - k_i)   for k_i <= x < k_{i+1}

l is constant below the first knot k and above the last one. Both it and a table that is looked up
have their gradients summed in float64 here, one sum for each segment or entry.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def count_steps(x: Tensor, thresholds: Tensor) -> Tensor:
    """How many thresholds each value has reached; float, of `x`'s shape.

    Args:
        thresholds: `(n,)`, or `(n, ...)` whose other axes are broadcast against the last of `x`'s.
    """
    x = x.detach()
    if thresholds.ndim == 1:
        return torch.bucketize(x.contiguous(), thresholds.detach(), right=True).to(x.dtype)
    return sum(((x >= threshold).to(x.dtype) for threshold in thresholds), torch.zeros_like(x))


def distance_to_step(x: Tensor, thresholds: Tensor) -> Tensor:
    """How far each value lies from the nearest threshold."""
    x = x.detach()
    if thresholds.ndim > 1:
        return torch.stack([(x - threshold).abs() for threshold in thresholds]).amin(0)
    above = torch.bucketize(x.contiguous(), thresholds).clamp(max=len(thresholds) - 1)
    below = (above - 1).clamp(min=0)
    return torch.minimum((x - thresholds[above]).abs(), (x - thresholds[below]).abs())


def polyline(x: Tensor, knots: Tensor, heights: Tensor) -> Tensor:
    """l(x); gradients go to `x`, to the knots `(n,)`, sorted, and to the heights `(n,)`."""
    return _Polyline.apply(x, knots, heights)


def look_up(table: Tensor, index: Tensor) -> Tensor:
    """`table[index]`, with a gradient that stays quick where the table is small."""
    return _LookUp.apply(table, index)


class _Polyline(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, knots: Tensor, heights: Tensor) -> Tensor:
        last = len(knots) - 1
        place = torch.bucketize(x.contiguous(), knots, right=True)  # 0 below, last + 1 above
        low = (place - 1).clamp(0, last - 1)
        share = ((x - knots[low]) / (knots[low + 1] - knots[low])).clamp(0, 1)
        ctx.save_for_backward(place, share, knots, heights)
        return heights[low] + (heights[low + 1] - heights[low]) * share

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        place, share, knots, heights = ctx.saved_tensors
        last = len(knots) - 1
        low = (place - 1).clamp(0, last - 1)
        slopes = heights.diff() / knots.diff()
        inside = ((place > 0) & (place <= last)).to(gradient.dtype)
        upper = _sums(low, gradient * share, last)  # (segments,)
        lower = _sums(low, gradient * (1 - share), last)
        to_heights = _ends(lower, upper)
        inner_upper = _sums(low, gradient * share * inside, last) * slopes
        inner_lower = _sums(low, gradient * (1 - share) * inside, last) * slopes
        to_knots = -_ends(inner_lower, inner_upper)
        to_x = gradient * slopes[low] * inside
        return to_x, to_knots.to(knots.dtype), to_heights.to(heights.dtype)


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.entries, ctx.dtype = len(table), table.dtype
        return table[index]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (index,) = ctx.saved_tensors
        return _sums(index, gradient, ctx.entries).to(ctx.dtype), None


def _sums(index: Tensor, values: Tensor, count: int) -> Tensor:
    """The values added up by index, `(count,)`, float64."""
    return torch.bincount(index.flatten(), values.flatten().double(), minlength=count)


def _ends(lower: Tensor, upper: Tensor) -> Tensor:
    """What the two ends of each segment receive, by knot."""
    none = lower.new_zeros(1)
    return torch.cat([lower, none]) + torch.cat([none, upper])
