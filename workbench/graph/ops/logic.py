"""Comparisons and logic."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.graph.ops.common import aligned, widened
from workbench.graph.ops.registry import op


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = aligned(a, b)
    return widened(a), widened(b)


@op("Equal", since=7)
def equal(a: Tensor, b: Tensor) -> Tensor:
    """Equal-19."""
    return torch.eq(*_pair(a, b))


@op("Greater", since=7)
def greater(a: Tensor, b: Tensor) -> Tensor:
    """Greater-13."""
    return torch.gt(*_pair(a, b))


@op("GreaterOrEqual", since=12)
def greater_or_equal(a: Tensor, b: Tensor) -> Tensor:
    """GreaterOrEqual-16."""
    return torch.ge(*_pair(a, b))


@op("Less", since=7)
def less(a: Tensor, b: Tensor) -> Tensor:
    """Less-13."""
    return torch.lt(*_pair(a, b))


@op("LessOrEqual", since=12)
def less_or_equal(a: Tensor, b: Tensor) -> Tensor:
    """LessOrEqual-16."""
    return torch.le(*_pair(a, b))


@op("And", since=7)
def logical_and(a: Tensor, b: Tensor) -> Tensor:
    """And-7."""
    return torch.logical_and(*_pair(a, b))


@op("Or", since=7)
def logical_or(a: Tensor, b: Tensor) -> Tensor:
    """Or-7."""
    return torch.logical_or(*_pair(a, b))


@op("Xor", since=7)
def logical_xor(a: Tensor, b: Tensor) -> Tensor:
    """Xor-7."""
    return torch.logical_xor(*_pair(a, b))


@op("Not")
def logical_not(x: Tensor) -> Tensor:
    """Not-1."""
    return torch.logical_not(x)


@op("BitwiseAnd", since=18)
def bitwise_and(a: Tensor, b: Tensor) -> Tensor:
    """BitwiseAnd-18."""
    return torch.bitwise_and(*_pair(a, b)).to(a.dtype)


@op("BitwiseOr", since=18)
def bitwise_or(a: Tensor, b: Tensor) -> Tensor:
    """BitwiseOr-18."""
    return torch.bitwise_or(*_pair(a, b)).to(a.dtype)


@op("BitwiseXor", since=18)
def bitwise_xor(a: Tensor, b: Tensor) -> Tensor:
    """BitwiseXor-18."""
    return torch.bitwise_xor(*_pair(a, b)).to(a.dtype)


@op("BitwiseNot", since=18)
def bitwise_not(x: Tensor) -> Tensor:
    """BitwiseNot-18."""
    return torch.bitwise_not(widened(x)).to(x.dtype)


@op("Where", since=9)
def where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Where-16: `x` where the condition holds, `y` elsewhere, all broadcast."""
    condition, x, y = aligned(condition, x, y)
    return torch.where(condition, x, y)
