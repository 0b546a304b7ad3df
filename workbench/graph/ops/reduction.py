"""Reductions. Axes are an attribute in older opsets and an input later; None means all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from workbench.graph.ops.common import ints, resolved, widened
from workbench.graph.ops.registry import op, pick

Axes = Tensor | Sequence[int] | None
Reducer = Callable[[Tensor, list[int], bool], Tensor]


def _reduce(x: Tensor, axes: Axes, keepdims: int, noop: int, reducer: Reducer) -> Tensor:
    dims = resolved(ints(axes), x.ndim)
    if not dims and noop:
        return reducer(x.unsqueeze(0), [0], False)
    if x.ndim == 0:
        return reducer(x.unsqueeze(0), [0], False)
    return reducer(x, dims or list(range(x.ndim)), bool(keepdims))


@op("ReduceSum", host=("axes",))
def reduce_sum(
    x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    """ReduceSum-13."""
    return _reduce(x, axes, keepdims, noop_with_empty_axes, lambda t, d, k: t.sum(d, k).to(t.dtype))


@op("ReduceMean", host=("axes",))
def reduce_mean(
    x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    """ReduceMean-18."""
    return _reduce(x, axes, keepdims, noop_with_empty_axes, _mean)


def _mean(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    if x.is_floating_point():
        return x.mean(dims, keep)
    return x.double().mean(dims, keep).to(x.dtype)


@op("ReduceMax", host=("axes",))
def reduce_max(
    x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    """ReduceMax-20: of nothing, the smallest value of the type."""
    return _reduce(x, axes, keepdims, noop_with_empty_axes, _amax)


@op("ReduceMin", host=("axes",))
def reduce_min(
    x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    """ReduceMin-20: of nothing, the largest value of the type."""
    return _reduce(x, axes, keepdims, noop_with_empty_axes, _amin)


def _amax(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    return x.amax(dims, keep) if x.numel() else _nothing(x, dims, keep, -math.inf)


def _amin(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    return x.amin(dims, keep) if x.numel() else _nothing(x, dims, keep, math.inf)


def _nothing(x: Tensor, dims: list[int], keep: bool, value: float) -> Tensor:
    if not x.is_floating_point() and x.dtype != torch.bool:
        info = torch.iinfo(x.dtype)
        value = info.min if value < 0 else info.max
    elif x.dtype == torch.bool:
        value = value > 0
    return torch.full_like(x.sum(dims, keep), value, dtype=x.dtype)


@op("ReduceProd", host=("axes",))
def reduce_prod(
    x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    """ReduceProd-18."""
    return _reduce(x, axes, keepdims, noop_with_empty_axes, _prod)


def _prod(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    y = x
    for dim in sorted(dims, reverse=True):
        y = y.prod(dim, keep)
    return y.to(x.dtype)


@op("ReduceL1", host=("axes",))
def reduce_l1(
    x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    """ReduceL1-18: sum of absolute values."""
    return _reduce(
        x, axes, keepdims, noop_with_empty_axes, lambda t, d, k: t.abs().sum(d, k).to(t.dtype)
    )


@op("ReduceL2", host=("axes",))
def reduce_l2(
    x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    """ReduceL2-18: root of the sum of squares."""
    return _reduce(
        x, axes, keepdims, noop_with_empty_axes, lambda t, d, k: _root(t.square().sum(d, k), t)
    )


def _root(squares: Tensor, like: Tensor) -> Tensor:
    return squares.sqrt() if like.is_floating_point() else squares.double().sqrt().to(like.dtype)


@op("ReduceSumSquare", host=("axes",))
def reduce_sum_square(
    x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    """ReduceSumSquare-18."""
    return _reduce(
        x, axes, keepdims, noop_with_empty_axes, lambda t, d, k: t.square().sum(d, k).to(t.dtype)
    )


@op("ReduceLogSum", host=("axes",))
def reduce_log_sum(
    x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    """ReduceLogSum-28."""
    return _reduce(x, axes, keepdims, noop_with_empty_axes, lambda t, d, k: t.sum(d, k).log())


@op("ReduceLogSumExp", host=("axes",))
def reduce_log_sum_exp(
    x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    """ReduceLogSumExp-28."""
    return _reduce(x, axes, keepdims, noop_with_empty_axes, lambda t, d, k: t.logsumexp(d, k))


@op("ArgMax")
def argmax(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """ArgMax-13: int64 index of the first (or last) largest value."""
    return _arg(torch.argmax, x, axis, bool(keepdims), select_last_index)


@op("ArgMin")
def argmin(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """ArgMin-13: int64 index of the first (or last) smallest value."""
    return _arg(torch.argmin, x, axis, bool(keepdims), select_last_index)


def _arg(find: Callable[..., Tensor], x: Tensor, axis: int, keep: bool, last: int) -> Tensor:
    if not last:
        return find(x, axis, keep)
    return x.shape[axis] - 1 - find(x.flip(axis), axis, keep)


@op("TopK", host=("k",))
def topk(
    x: Tensor,
    k: Tensor | Sequence[int] | int,
    *,
    axis: int = -1,
    largest: int = 1,
    sorted: int = 1,
    n_outputs: int = 2,
) -> tuple[Tensor, Tensor] | Tensor:
    """TopK-24: values and int64 indices; of equal values the lower index comes first."""
    count = ints(k)[0]
    values, indices = widened(x).sort(dim=axis, descending=bool(largest), stable=True)
    values = values.to(x.dtype)
    return pick((values.narrow(axis, 0, count), indices.narrow(axis, 0, count)), n_outputs)
