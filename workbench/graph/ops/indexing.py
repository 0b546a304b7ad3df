"""Gather and scatter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workbench.graph.ops.common import aligned, ints
from workbench.graph.ops.registry import op, pick

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


@op("Scatter", since=9)
def scatter(data: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0) -> Tensor:
    """Scatter-9: ScatterElements without a reduction, under its older name."""
    return scatter_elements(data, indices, updates, axis=axis)


@op("ScatterElements", since=11)
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
    """OneHot-28: `values` is (off, on); indices outside [-depth, depth) are all off."""
    n = int(depth.item()) if isinstance(depth, Tensor) else int(ints(depth)[0])  # type: ignore[arg-type]
    wide = _positive(indices.to(torch.int64), n)
    classes = torch.arange(n, device=indices.device)
    hit = (wide.unsqueeze(-1) == classes).movedim(-1, axis)
    off, on = values.to(indices.device)
    return torch.where(hit, on, off)


@op("TensorScatter", since=24)
def tensor_scatter(
    past_cache: Tensor,
    update: Tensor,
    write_indices: Tensor | None = None,
    *,
    axis: int = -2,
    mode: str = "linear",
) -> Tensor:
    """TensorScatter-24: each sample's update written along `axis` from its own place on.

    past_cache (N, ..., max length, ...), write_indices (N,), zero by default; `circular` writes
    beyond the end at the beginning.
    """
    cache, new = past_cache.movedim(axis, 1), update.movedim(axis, 1)
    steps = torch.arange(new.shape[1], device=cache.device).expand(new.shape[:2])
    if write_indices is not None:
        steps = steps + write_indices.to(cache.device).unsqueeze(1)
    steps = steps % cache.shape[1] if mode == "circular" else steps
    rows = torch.arange(cache.shape[0], device=cache.device).unsqueeze(1)
    return cache.index_put((rows, steps), new).movedim(1, axis)


@op("Unique", since=11)
def unique(x: Tensor, *, axis: int | None = None, sorted: int = 1, n_outputs: int = 1) -> Any:
    """Unique-28: distinct elements, or slices along `axis`; ascending, or as they first appear.

    Outputs: Y, index of each one's first appearance, inverse indices, counts.
    """
    source = x.reshape(-1) if axis is None else x
    dim = 0 if axis is None else axis
    y, inverse, counts = torch.unique(source, return_inverse=True, return_counts=True, dim=dim)
    places = torch.arange(inverse.numel(), device=x.device)
    first = places.new_full((len(counts),), inverse.numel())
    first = first.scatter_reduce(0, inverse, places, "amin")
    if not sorted:
        order = first.argsort()
        y, first, counts = y.index_select(dim, order), first[order], counts[order]
        inverse = order.argsort()[inverse]
    return pick((y, first, inverse, counts), n_outputs)


@op("NonZero", since=9)
def nonzero(x: Tensor) -> Tensor:
    """NonZero-13: indices (rank, found) in row-major order."""
    return torch.nonzero(x).T if x.ndim else torch.nonzero(x.reshape(1)).T


@op("Compress", since=9)
def compress(x: Tensor, condition: Tensor, *, axis: int | None = None) -> Tensor:
    """Compress-28: the slices along `axis` (or flat elements) where the condition holds."""
    x, condition = aligned(x, condition)
    kept = condition.nonzero().reshape(-1)
    return x.reshape(-1)[kept] if axis is None else x.index_select(axis, kept)
