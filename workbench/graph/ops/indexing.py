"""Gather and scatter."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.graph.ops.common import aligned, ints
from workbench.graph.ops.registry import op

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _positive(indices: Tensor, n: int) -> Tensor:
    wide = indices.to(torch.int64)
    return torch.where(wide < 0, wide + n, wide)


@op("Gather")
def gather(data: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Gather-13: whole slices along `axis`; indices of any shape, negative ones count back."""
    axis = axis + data.ndim if axis < 0 else axis
    if indices.ndim == 0 and not data.is_floating_point() and data.ndim == 1:
        return data[int(indices.item())]
    data, indices = aligned(data, indices)
    flat = _positive(indices.reshape(-1), data.shape[axis])
    picked = data.index_select(axis, flat)
    return picked.reshape(*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])


@op("GatherElements", since=11)
def gather_elements(data: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """GatherElements-13: torch's gather with negative indices."""
    data, indices = aligned(data, indices)
    return data.gather(axis, _positive(indices, data.shape[axis]))


@op("GatherND", since=11)
def gather_nd(data: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    """GatherND-13: the last axis of `indices` addresses leading axes of `data`."""
    data, indices = aligned(data, indices)
    batch = data.shape[:batch_dims]
    flat_data = data.reshape(-1, *data.shape[batch_dims:])
    flat_index = indices.reshape(flat_data.shape[0], -1, indices.shape[-1]).to(torch.int64)
    rows = torch.arange(flat_data.shape[0], device=data.device).unsqueeze(1)
    picked = flat_data[(rows, *flat_index.unbind(-1))]
    rest = data.shape[batch_dims + indices.shape[-1] :]
    return picked.reshape(*batch, *indices.shape[batch_dims:-1], *rest)


@op("ScatterElements", since=11)
@op("Scatter", since=9)
def scatter_elements(
    data: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none"
) -> Tensor:
    """ScatterElements-18: torch's scatter with negative indices, optionally reducing."""
    data, indices, updates = aligned(data, indices, updates)
    index = _positive(indices, data.shape[axis])
    if reduction == "none":
        return data.scatter(axis, index, updates)
    return data.scatter_reduce(axis, index, updates, _REDUCTIONS[reduction])


@op("ScatterND", since=11)
def scatter_nd(
    data: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none"
) -> Tensor:
    """ScatterND-18: the last axis of `indices` addresses leading axes of `data`."""
    data, indices, updates = aligned(data, indices, updates)
    depth = indices.shape[-1]
    sizes = data.shape[:depth]
    flat = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=data.device)
    for i, n in enumerate(sizes):
        flat = flat * n + _positive(indices[..., i], n)
    rows = data.reshape(-1, *data.shape[depth:]) if depth else data.unsqueeze(0)
    index = flat.reshape(-1)
    values = updates.reshape(index.numel(), *data.shape[depth:])
    return _put(rows, index, values, reduction).reshape(data.shape)


def _put(rows: Tensor, index: Tensor, values: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return rows.index_copy(0, index, values)
    if reduction == "add":
        return rows.index_add(0, index, values)
    index = index.reshape(-1, *[1] * (values.ndim - 1)).expand_as(values)
    return rows.scatter_reduce(0, index, values, _REDUCTIONS[reduction])


@op("OneHot", since=9, host=("depth",))
def one_hot(
    indices: Tensor, depth: Tensor | list[int] | float, values: Tensor, *, axis: int = -1
) -> Tensor:
    """OneHot-11: `values` is (off, on); indices outside [-depth, depth) are all off."""
    n = int(depth.item()) if isinstance(depth, Tensor) else int(ints(depth)[0])  # type: ignore[arg-type]
    wide = _positive(indices.to(torch.int64), n)
    classes = torch.arange(n, device=indices.device)
    hit = (wide.unsqueeze(-1) == classes).movedim(-1, axis)
    off, on = values.to(indices.device)
    return torch.where(hit, on, off)


@op("NonZero", since=9)
def nonzero(x: Tensor) -> Tensor:
    """NonZero-13: indices (rank, found) in row-major order."""
    return torch.nonzero(x).T if x.ndim else torch.nonzero(x.reshape(1)).T


@op("Compress", since=9)
def compress(x: Tensor, condition: Tensor, *, axis: int | None = None) -> Tensor:
    """Compress-11: the slices along `axis` (or flat elements) where the condition holds."""
    x, condition = aligned(x, condition)
    kept = condition.nonzero().reshape(-1)
    return x.reshape(-1)[kept] if axis is None else x.index_select(axis, kept)
