"""Operators that move values without changing them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.graph.ops.common import aligned, ints, number, resolved
from workbench.graph.ops.registry import op

Ints = Tensor | Sequence[int] | None


@op("Shape")
def shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    """Shape-25: the sizes of axes `start` to `end`, int64 on the CPU."""
    return torch.tensor(list(x.shape)[start:end], dtype=torch.int64)


@op("Size")
def size(x: Tensor) -> Tensor:
    """Size-25: the number of elements, int64 on the CPU."""
    return torch.tensor(x.numel(), dtype=torch.int64)


@op("Reshape", since=5, host=("shape",))
def reshape(x: Tensor, shape: Tensor | Sequence[int], *, allowzero: int = 0) -> Tensor:
    """Reshape-25: -1 is worked out; 0 copies the input's size unless `allowzero`."""
    sizes = ints(shape)
    if not allowzero:
        sizes = [x.shape[i] if n == 0 else n for i, n in enumerate(sizes)]
    return x.reshape(sizes)


@op("Flatten")
def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """Flatten-25: to 2-D, axes before `axis` by the rest."""
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@op("Transpose")
def transpose(x: Tensor, *, perm: Sequence[int] | None = None) -> Tensor:
    """Transpose-25: axes in the order `perm`, reversed by default."""
    return x.permute(list(perm) if perm else list(range(x.ndim))[::-1])


@op("Squeeze", host=("axes",))
def squeeze(x: Tensor, axes: Ints = None) -> Tensor:
    """Squeeze-25: drops the given axes of size one, or all such."""
    return x.squeeze() if axes is None else x.squeeze(tuple(ints(axes)))


@op("Unsqueeze", host=("axes",))
def unsqueeze(x: Tensor, axes: Tensor | Sequence[int]) -> Tensor:
    """Unsqueeze-25: new axes of size one, numbered in the result."""
    wanted = ints(axes)
    for axis in sorted(resolved(wanted, x.ndim + len(wanted))):
        x = x.unsqueeze(axis)
    return x


@op("Expand", since=8, host=("shape",))
def expand(x: Tensor, shape: Tensor | Sequence[int]) -> Tensor:
    """Expand-13: two-way broadcast with `shape`."""
    return x.expand(torch.broadcast_shapes(x.shape, tuple(ints(shape))))


@op("Tile", since=6, host=("repeats",))
def tile(x: Tensor, repeats: Tensor | Sequence[int]) -> Tensor:
    """Tile-13: numpy's tile."""
    return x.repeat(ints(repeats))


@op("Concat", since=4)
def concat(*tensors: Tensor, axis: int) -> Tensor:
    """Concat-13: along `axis`."""
    return torch.cat(aligned(*tensors), axis)


@op("Split", host=("split",))
def split(
    x: Tensor,
    split: Ints = None,
    *,
    axis: int = 0,
    num_outputs: int | None = None,
    n_outputs: int = 1,
) -> tuple[Tensor, ...] | Tensor:
    """Split-18: into given sizes, or into equal parts of which the last may be smaller."""
    sizes = ints(split)
    if not sizes:
        parts = num_outputs or n_outputs
        step = -(-x.shape[axis] // parts)
        sizes = [min(step, x.shape[axis] - i * step) for i in range(parts)]
    pieces = torch.split(x, sizes, axis)
    return pieces[0] if n_outputs == 1 else pieces


@op("Slice", host=("starts", "ends", "axes", "steps"))
def slice_(
    x: Tensor,
    starts: Tensor | Sequence[int],
    ends: Tensor | Sequence[int],
    axes: Ints = None,
    steps: Ints = None,
) -> Tensor:
    """Slice-13: as Python slices, per axis; negative steps walk backwards."""
    first, last = ints(starts), ints(ends)
    dims = resolved(ints(axes), x.ndim) if axes is not None else list(range(len(first)))
    strides = ints(steps) or [1] * len(first)
    for dim, start, end, step in zip(dims, first, last, strides, strict=True):
        x = _sliced(x, dim, start, end, step)
    return x


def _sliced(x: Tensor, dim: int, start: int, end: int, step: int) -> Tensor:
    """One axis, bounds clamped as ONNX says: start into the axis, end one beyond its far side."""
    n = x.shape[dim]
    start, end = (bound + n if bound < 0 else bound for bound in (start, end))
    if step > 0:
        start, end = (min(max(bound, 0), n) for bound in (start, end))
        index = [slice(None)] * dim + [slice(start, max(start, end), step)]
        return x[tuple(index)]
    start, end = min(max(start, 0), n - 1), min(max(end, -1), n - 1)
    chosen = range(start, end, step)
    return x.index_select(dim, torch.tensor(chosen, dtype=torch.int64, device=x.device))


@op("Pad", host=("pads", "value", "axes"))
def pad(
    x: Tensor,
    pads: Tensor | Sequence[int],
    value: Tensor | float | None = None,
    axes: Ints = None,
    *,
    mode: str = "constant",
) -> Tensor:
    """Pad-25: `pads` is all begins, then all ends, of `axes`; negative amounts crop."""
    amounts = ints(pads)
    dims = resolved(ints(axes), x.ndim) if axes is not None else list(range(x.ndim))
    half = len(amounts) // 2
    pairs = dict(zip(dims, zip(amounts[:half], amounts[half:], strict=True), strict=True))
    if mode == "constant":
        flat = [n for dim in reversed(range(x.ndim)) for n in pairs.get(dim, (0, 0))]
        return F.pad(x, flat, value=0.0 if value is None else number(value))
    for dim, (begin, end) in pairs.items():
        if begin or end:
            index = _pad_index(x.shape[dim], begin, end, mode, x.device)
            x = x.index_select(dim, index)
    return x


def _pad_index(n: int, begin: int, end: int, mode: str, device: torch.device) -> Tensor:
    """Where each padded position reads from: mirrored, clamped or wrapped."""
    index = torch.arange(-begin, n + end, device=device)
    if mode == "edge":
        return index.clamp(0, n - 1)
    if mode == "wrap":
        return index.remainder(n)
    period = max(2 * (n - 1), 1)
    folded = index.remainder(period)
    return torch.minimum(folded, period - folded) if n > 1 else torch.zeros_like(index)


@op("CenterCropPad", since=18, host=("shape",))
def center_crop_pad(
    x: Tensor, shape: Tensor | Sequence[int], *, axes: Sequence[int] | None = None
) -> Tensor:
    """CenterCropPad-18: cut or zero-filled to `shape`, the middle kept; odd amounts at the end."""
    dims = resolved(axes, x.ndim) if axes is not None else list(range(x.ndim))
    flat = [0] * 2 * x.ndim
    for dim, wanted in zip(dims, ints(shape), strict=True):
        change = wanted - x.shape[dim]
        begin = abs(change) // 2 * (1 if change > 0 else -1)
        place = 2 * (x.ndim - 1 - dim)  # F.pad begins with the last axis
        flat[place : place + 2] = begin, change - begin
    return F.pad(x, flat)


@op("DepthToSpace")
def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """DepthToSpace-28: (N, C b b, H, W) to (N, C, H b, W b)."""
    n, c, h, w = x.shape
    b = blocksize
    if mode == "DCR":
        y = x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(n, c // (b * b), b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return y.reshape(n, c // (b * b), h * b, w * b)


@op("SpaceToDepth")
def space_to_depth(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """SpaceToDepth-28: (N, C, H, W) to (N, C b b, H / b, W / b)."""
    n, c, h, w = x.shape
    b = blocksize
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    y = x.reshape(n, c, h // b, b, w // b, b).permute(order)
    return y.reshape(n, c * b * b, h // b, w // b)


@op("Trilu", since=14, host=("k",))
def trilu(x: Tensor, k: Tensor | Sequence[int] | int | None = None, *, upper: int = 1) -> Tensor:
    """Trilu-14: upper or lower triangle, diagonal moved by k."""
    diagonal = 0 if k is None else ints(k)[0]
    return x.triu(diagonal) if upper else x.tril(diagonal)


@op("ReverseSequence", since=10)
def reverse_sequence(
    x: Tensor, sequence_lens: Tensor, *, batch_axis: int = 1, time_axis: int = 0
) -> Tensor:
    """ReverseSequence-28: the first `sequence_lens[b]` steps of each batch entry backwards."""
    y = x.movedim((batch_axis, time_axis), (0, 1))  # (batch, time, ...)
    steps = torch.arange(y.shape[1], device=x.device).expand(y.shape[:2])
    lens = sequence_lens.to(x.device).unsqueeze(1)
    index = torch.where(steps < lens, lens - 1 - steps, steps)
    rows = torch.arange(y.shape[0], device=x.device).unsqueeze(1)
    return y[rows, index].movedim((0, 1), (batch_axis, time_axis))
